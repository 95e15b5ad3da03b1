"""Spans from the caller's trace through the gateway into Triton's, sent to an OpenTelemetry collector.

Off unless an endpoint is given: then every method returns at once, and OpenTelemetry is not even imported.
A span says what was done and for how long; never media, words or vectors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger(__name__)
AttributeValue = str | bool | int | float
_SERVICE = "resonance-gateway"
_MAX_QUEUED_SPANS = 4096
_EXPORT_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 3.0
#: Headers of W3C Trace Context; `baggage` is left out, for Triton has no use for it.
_CONTEXT_HEADERS = ("traceparent", "tracestate")
_NO_SPAN: AbstractContextManager[None] = nullcontext()


class Tracing:
    """Makes spans, or nothing.

    Args:
        exporter: where spans go; None turns tracing off. See `otlp_exporter`.
        version: of the gateway, an attribute of its resource.
    """

    def __init__(self, exporter: SpanExporter | None = None, *, version: str = "") -> None:
        self._provider: TracerProvider | None = None
        self._exporter = exporter
        if exporter is not None:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            resource = Resource.create({"service.name": _SERVICE, "service.version": version})
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            # a full queue drops spans; no call ever waits for the collector
            self._provider.add_span_processor(
                BatchSpanProcessor(exporter, max_queue_size=_MAX_QUEUED_SPANS, schedule_delay_millis=1000)
            )
            self._tracer = self._provider.get_tracer("resonance.serving.gateway", version)

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._provider is not None

    def call_span(
        self, method: str, metadata: Sequence[tuple[str, str | bytes]]
    ) -> AbstractContextManager[None]:
        """The span of one call of `method` (``/package.Service/Method``), a child of the caller's."""
        if self._provider is None:
            return _NO_SPAN
        return self._call_span(method, metadata)

    def span(self, name: str, **attributes: AttributeValue) -> AbstractContextManager[None]:
        """A span under the current one, such as ``admission``, ``reading`` or ``segment``.

        Attributes are numbers and fixed words: index, modalities, sampled_by, model.
        """
        if self._provider is None:
            return _NO_SPAN
        return self._span(name, attributes, client=False)

    def request_span(self, model: str) -> AbstractContextManager[None]:
        """The span of one request to a model; `request_headers` inside it hands it on to Triton."""
        if self._provider is None:
            return _NO_SPAN
        return self._span(f"model {model}", {"model": model}, client=True)

    def annotate(self, **attributes: AttributeValue) -> None:
        """Add attributes to the current span."""
        if self._provider is not None:
            from opentelemetry.trace import get_current_span

            get_current_span().set_attributes(attributes)

    def fail(self, code: str) -> None:
        """The current span ended with the gRPC status `code`."""
        if self._provider is not None:
            from opentelemetry.trace import Status, StatusCode, get_current_span

            span = get_current_span()
            span.set_attribute("rpc.grpc.status_code", code)
            span.set_status(Status(StatusCode.ERROR, code))

    def trace_id(self) -> str:
        """The current trace, 32 hexadecimal digits, for a log line; empty where there is none."""
        if self._provider is None:
            return ""
        from opentelemetry.trace import format_trace_id, get_current_span

        context = get_current_span().get_span_context()
        return format_trace_id(context.trace_id) if context.is_valid else ""

    def request_headers(self) -> dict[str, str]:
        """Headers that make what the receiver does part of the current span; none when off or unsampled."""
        headers: dict[str, str] = {}
        if self._provider is not None:
            from opentelemetry.trace import get_current_span
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            # Triton traces whatever brings a context, whether that says "sampled" or not
            if get_current_span().get_span_context().trace_flags.sampled:
                TraceContextTextMapPropagator().inject(headers)
        return headers

    def close(self) -> None:
        """Send what is left, within a few seconds, and end. A collector that is gone changes nothing."""
        if self._provider is None or self._exporter is None:
            return
        # the SDK waits half a minute for a collector that does not answer
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        ending.start()
        ending.join(_CLOSE_TIMEOUT_S)
        if ending.is_alive():
            _log.warning("the collector did not take the last spans within %g s", _CLOSE_TIMEOUT_S)
            self._exporter.shutdown()  # else it tries on behind what comes after

    @contextmanager
    def _call_span(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> Iterator[None]:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        given = {key: value for key, value in metadata if key in _CONTEXT_HEADERS and isinstance(value, str)}
        service, _, name = method.strip("/").rpartition("/")
        with self._tracer.start_as_current_span(
            method.strip("/"),
            context=TraceContextTextMapPropagator().extract(given),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
            record_exception=False,  # its text may quote media; `fail` says the code
            set_status_on_exception=False,
        ):
            yield

    @contextmanager
    def _span(self, name: str, attributes: Mapping[str, AttributeValue], *, client: bool) -> Iterator[None]:
        from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span

        kind = SpanKind.CLIENT if client else SpanKind.INTERNAL
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield
            except BaseException as error:
                get_current_span().set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def triton_trace_flags(url: str) -> tuple[str, ...]:
    """Flags of `tritonserver` that let it continue traces it is handed, and begin none.

    Args:
        url: where its spans go, over OTLP/HTTP, such as ``http://collector:4318/v1/traces``; it speaks
            no OTLP/gRPC.
    """
    values = ("mode=opentelemetry", "rate=0", "level=TIMESTAMPS", f"opentelemetry,url={url}")
    return tuple(f"--trace-config={value}" for value in values)


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Sends spans over OTLP/gRPC.

    Args:
        endpoint: ``http://host:port`` or ``host:port`` in plain text, ``https://host:port`` with TLS.
    """
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=_EXPORT_TIMEOUT_S
    )
