"""What the gateway counts and times, for Prometheus and for GetStatus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.registry import Collector

from resonance.serving.gateway.certificates import Validity
from resonance.serving.gateway.gpu_metrics import GpuCollector
from resonance.serving.gateway.labels import BoundedLabels
from resonance.serving.gateway.reasons import HandshakeFault, Kill, Refusal
from resonance.serving.gateway.throughput import Throughput, ThroughputMeter
from resonance.v1 import embedding_pb2 as pb

_PREFIX = "resonance_gateway"
#: Seconds: a model on the GPU answers within milliseconds, a segment waits up to minutes for its last byte.
_BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 300),
)
_SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"]
#: The methods of the service, as calls name them.
METHODS = tuple(f"/{_SERVICE.full_name}/{method.name}" for method in _SERVICE.methods)
#: What a method that is not here is counted as.
UNKNOWN_METHOD = "unknown"
#: Codes of calls that this side failed, whatever its caller did.
FAULT_CODES = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS")


class Stage(StrEnum):
    """Where the time of a call goes."""

    #: From the call's start until it was admitted.
    ADMISSION = "admission"
    #: From the first byte to `info`: the container is open.
    READING = "reading"
    #: Demultiplexing, summed over a call.
    DEMUX = "demux"
    #: Decoding on this side, summed over a call.
    DECODE = "decode"
    #: A segment waits for a free place.
    QUEUE = "queue"
    #: Segments become a title.
    FUSION = "fusion"
    #: From a segment's last byte to its vector.
    SEGMENT = "segment"


class GatewayMetrics:
    """All metrics of one gateway, in a registry of its own.

    Attributes:
        registry: what `/metrics` shows.
        queued: calls that wait to be admitted.
        segments_in_flight, segments_in_flight_limit: segments at the models, and how many may be.
        spooled_bytes, spool_limit_bytes: bytes of uploads on disk, and how many may be.
        live_feeds, uploads, queries: calls that run, as GetStatus tells them apart.

    Args:
        version: of the gateway, shown in `resonance_gateway_build_info`.
        gpu: also tell how busy the GPUs are.
        clock: seconds that never go back.
    """

    def __init__(
        self, *, version: str = "", gpu: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._started_s = clock()
        self._throughput = ThroughputMeter(clock=clock)
        self._bounded: dict[str, BoundedLabels] = {}
        if gpu:
            self.registry.register(GpuCollector())

        self._calls = self._counter("calls", "Calls that ended", "method", "code")
        self._call_seconds = self._histogram("call_seconds", "From the start of a call to its end", "method")
        self._running = self._gauge("calls_running", "Calls that run", "method")
        self._caller_calls = self._counter("caller_calls", "Calls by the name of their token", "caller")
        self._unauthenticated = self._counter(
            "unauthenticated", "Calls refused without a valid token", "method"
        )
        self._connections = self._counter("tls_connections", "Connections that began a TLS handshake")
        self._handshakes_failed = self._counter("tls_handshakes_failed", "Handshakes that failed", "reason")
        self._refused = self._counter("refused", "Calls refused, by reason", "reason")
        self._abandoned = self._counter("abandoned", "Calls whose caller was gone before the end", "method")
        self._segments = self._counter("segments", "Segments answered")
        self._media_seconds = self._counter("media_seconds", "Seconds of media answered")
        self._resumed = self._counter("segments_resumed", "Segments that callers brought along")
        self._received = self._counter("received_bytes", "Bytes of media received")
        self._late_frames = self._counter("late_frames", "Frames of live feeds that came too late")
        self._late_sound = self._counter("late_sound_seconds", "Seconds of their sound that came so")
        self._late_cues = self._counter("late_cues", "Cues of theirs that came so")
        self._killed = self._counter("readers_killed", "Reader processes that were killed", "reason")
        self._stages = self._histogram("stage_seconds", "Time by stage", "stage")
        self._inference = self._histogram("inference_seconds", "Requests to models", "model")
        self._inference_failed = self._counter(
            "inference_failed", "Requests to models that failed, those refused left out", "model"
        )
        self._healthy = self._gauge("model_serving", "1: answered its last synthetic inference", "model")
        self._certificate = self._gauge("tls_certificate_expires_timestamp_seconds", "Unix time of its end")
        self._certificate_lifetime = self._gauge(
            "tls_certificate_lifetime_seconds", "From its first moment to its last"
        )
        self.queued = self._gauge("queued_calls", "Calls that wait to be admitted")
        self.segments_in_flight = self._gauge("segments_in_flight", "Segments at the models")
        self.segments_in_flight_limit = self._gauge(
            "segments_in_flight_limit", "Segments that may be at the models"
        )
        self.spooled_bytes = self._gauge("spooled_bytes", "Bytes of uploads on disk")
        self.spool_limit_bytes = self._gauge("spool_limit_bytes", "Bytes of uploads that may be on disk")
        self.uploads = self._gauge("uploads", "Calls of EmbedMedia that run, live feeds left out")
        self.live_feeds = self._gauge("live_feeds", "Live feeds that run")
        self.queries = self._gauge("queries", "Calls of EmbedQuery and FuseTitle that run")
        Info(f"{_PREFIX}_build", "What runs", registry=self.registry).info({"version": version})
        self._space = Info(f"{_PREFIX}_space", "What is served", registry=self.registry)
        self._show_from_the_start()

    def _show_from_the_start(self) -> None:
        """What is counted later begins at 0 now: a first burst that makes its counter is no rise of it."""
        for stage in Stage:
            self._stages.labels(stage.value)
        for method in METHODS:
            self._call_seconds.labels(method)
            self._abandoned.labels(method)
        for method in (*METHODS, UNKNOWN_METHOD):
            self._unauthenticated.labels(method)
            for code in ("OK", *FAULT_CODES):
                self._calls.labels(method, code)
        reasons: tuple[tuple[Counter, type[StrEnum]], ...] = (
            (self._refused, Refusal),
            (self._killed, Kill),
            (self._handshakes_failed, HandshakeFault),
        )
        for counter, kind in reasons:
            for reason in kind:
                counter.labels(reason.value)

    # calls

    @contextmanager
    def call_running(self, method: str) -> Iterator[None]:
        """For as long as a call of `method` runs."""
        gauge = self._running.labels(self._label("method", method))
        with gauge.track_inprogress():
            yield

    def call_ended(self, method: str, code: str, seconds: float | None) -> None:
        """A call of `method` ended after `seconds` with the gRPC status `code`, such as ``OK``.

        None: not timed, for it was refused before it began, or how long it takes is its caller's affair.
        """
        label = self._label("method", method)
        self._calls.labels(label, self._label("code", code)).inc()
        if seconds is not None:
            self._call_seconds.labels(label).observe(seconds)

    def caller_called(self, name: str) -> None:
        """A call by a caller of the token file; `name` stands there, so there are few of them."""
        self._caller_calls.labels(self._label("caller", name)).inc()

    def call_unauthenticated(self, method: str) -> None:
        """A call without a valid token."""
        self._unauthenticated.labels(self._label("method", method)).inc()

    def call_refused(self, reason: str) -> None:
        """A call that a limit refused."""
        self._refused.labels(self._label("refused", reason)).inc()

    def call_abandoned(self, method: str) -> None:
        """A call whose caller was gone before the end; its work was dropped."""
        self._abandoned.labels(self._label("method", method)).inc()

    def connection_began(self) -> None:
        """A connection began its TLS handshake."""
        self._connections.inc()

    def handshake_failed(self, reason: str) -> None:
        """A connection that was refused before it could call."""
        self._handshakes_failed.labels(self._label("handshake", reason)).inc()

    # media

    def segment_answered(self, media_s: float) -> None:
        """A segment of `media_s` seconds went out; 0 for text without a clock."""
        self._segments.inc()
        self._media_seconds.inc(media_s)
        self._throughput.add(media_s)

    def segments_resumed(self, count: int) -> None:
        """A resumed call brought `count` segments along."""
        self._resumed.inc(count)

    def bytes_received(self, count: int) -> None:
        """`count` bytes of media came."""
        self._received.inc(count)

    def media_late(self, frames: int, sound_s: float, cues: int) -> None:
        """So much more of a live feed came after its windows were complete."""
        self._late_frames.inc(frames)
        self._late_sound.inc(sound_s)
        self._late_cues.inc(cues)

    def reader_killed(self, reason: str) -> None:
        """A reader process was killed."""
        self._killed.labels(self._label("killed", reason)).inc()

    # stages and models

    def observe(self, stage: Stage, seconds: float) -> None:
        """`stage` took `seconds`."""
        self._stages.labels(stage.value).observe(seconds)

    @contextmanager
    def time(self, stage: Stage) -> Iterator[None]:
        """Times what stands inside, however it ends."""
        started_s = self._clock()
        try:
            yield
        finally:
            self.observe(stage, self._clock() - started_s)

    def inference_ended(self, model: str, seconds: float) -> None:
        """A request to `model` was answered after `seconds`."""
        self._inference.labels(self._label("model", model)).observe(seconds)

    def inference_failed(self, model: str) -> None:
        """A request to `model` failed for a fault of this side."""
        self._inference_failed.labels(self._label("model", model)).inc()

    def model_health(self, model: str, serving: bool) -> None:
        """What the last synthetic inference of `model` said."""
        label = self._label("model", model)
        for shown in (self._inference, self._inference_failed):
            shown.labels(label)  # at 0, before its first burst
        self._healthy.labels(label).set(serving)

    def space(self, name: str, fingerprint: str, trained: bool) -> None:
        """Which space is served."""
        self._space.info({"name": name, "fingerprint": fingerprint, "trained": str(trained).lower()})

    def certificate_in_use(self, validity: Callable[[], Validity]) -> None:
        """Show when the certificate in use ends, and how long it is valid in all."""
        self._certificate.set_function(lambda: validity().ends_unix_s)
        self._certificate_lifetime.set_function(lambda: validity().lifetime_s)

    # for GetStatus

    def throughput(self) -> Throughput:
        """Segments and seconds of media a second, over the last minute."""
        return self._throughput.now()

    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started_s

    def refused_by_reason(self) -> dict[str, int]:
        """Calls refused since the start; reasons that some were refused for."""
        return {reason: count for reason, count in _totals(self._refused).items() if count}

    def abandoned(self) -> int:
        """Calls abandoned since the start."""
        return sum(_totals(self._abandoned).values())

    def value(self, name: str, /, **labels: str) -> float:
        """One sample by its name without ``resonance_gateway_``; 0 where it was never counted."""
        return self.registry.get_sample_value(f"{_PREFIX}_{name}", labels) or 0.0

    # making them

    def add_collector(self, collector: Collector) -> None:
        """Show what `collector` tells, too."""
        self.registry.register(collector)

    def _label(self, kind: str, value: str) -> str:
        return self._bounded.setdefault(kind, BoundedLabels())(value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, buckets=_BUCKETS_S, registry=self.registry)


def _totals(counter: Counter) -> dict[str, int]:
    """By the value of the counter's one label."""
    samples: Iterable[tuple[str, float]] = (
        (next(iter(sample.labels.values())), sample.value)
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )
    return {label: int(value) for label, value in samples}
