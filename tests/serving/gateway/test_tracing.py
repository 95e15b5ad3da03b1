"""Spans: from the caller's through the gateway into a real Triton; nothing when off, no harm done."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resonance.clients.transport import TritonTransport
from resonance.serving.gateway.tracing import Tracing, otlp_exporter, triton_trace_flags
from resonance.serving.server import ServerSettings, TritonServer
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc as pb_grpc
from tests.serving.gateway.collectors import Received, attributes, over_grpc, over_http
from tests.serving.gateway.door import CONTENT, SERVICE, Service, ask, open_door, until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


@pytest.fixture
def received() -> Iterator[Received]:
    with over_grpc() as collector:
        yield collector


@pytest.fixture
def tracing(received: Received) -> Iterator[Tracing]:
    made = Tracing(otlp_exporter(received.endpoint), version="1.2.3")
    yield made
    made.close()


async def test_a_call_is_a_child_of_its_caller(tracing: Tracing, received: Received) -> None:
    async with open_door(tracing=tracing) as door:
        assert (await ask(door.plain(), CALLERS))[0] == "OK"
        assert (await ask(door.plain(), CALLERS, "GetStatus"))[0] == "INTERNAL"
        failed = {"method": f"{SERVICE}/GetStatus", "code": "INTERNAL"}
        await until(lambda: door.metrics.value("calls_total", **failed) == 1)  # after it was answered
    tracing.close()
    good, bad = received.named(f"{SERVICE[1:]}/GetSpace"), received.named(f"{SERVICE[1:]}/GetStatus")
    for span in (good, bad):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.kind == span.SPAN_KIND_SERVER
        assert attributes(span)["rpc.service"] == SERVICE[1:]
    assert good.status.code == good.status.STATUS_CODE_UNSET
    assert bad.status.code == bad.status.STATUS_CODE_ERROR
    assert attributes(bad)["rpc.grpc.status_code"] == "INTERNAL"
    assert CONTENT not in str(received.spans)
    assert received.resources["service.name"] == "resonance-gateway"
    assert received.resources["service.version"] == "1.2.3"


async def test_without_a_callers_context_a_trace_begins(tracing: Tracing, received: Received) -> None:
    async with open_door(tracing=tracing) as door:
        for headers in ({}, {"traceparent": "nonsense"}, {"traceparent": "00-" + "0" * 32 + "-1-01"}):
            assert (await ask(door.plain(), headers))[0] == "OK"
    tracing.close()
    assert len({span.trace_id for span in received.spans}) == 3
    assert not any(span.parent_span_id for span in received.spans)


async def test_a_caller_that_does_not_sample_is_not_traced(tracing: Tracing, received: Received) -> None:
    async with open_door(tracing=tracing) as door:
        assert (await ask(door.plain(), {"traceparent": f"00-{TRACE}-{PARENT}-00"}))[0] == "OK"
    tracing.close()
    assert received.spans == []


async def test_stages_segments_and_requests_are_nested(tracing: Tracing, received: Received) -> None:
    headers: list[dict[str, str]] = []

    class Staged(Service):
        async def GetSpace(self, request: Any, context: Any) -> pb.GetSpaceResponse:  # noqa: N802
            with tracing.span("admission"):
                await asyncio.sleep(0)
            await asyncio.gather(*(asyncio.create_task(self._segment(index)) for index in range(3)))
            return pb.GetSpaceResponse()

        async def _segment(self, index: int) -> None:
            with tracing.span("segment", index=index, sampled_by="keyframes"):
                tracing.annotate(modalities="visual")
                await asyncio.sleep(0.01)
                with tracing.request_span("visual_encoder"):
                    await asyncio.sleep(0.01)
                    headers.append(tracing.request_headers())

    async with open_door(tracing=tracing, service=Staged()) as door:
        assert (await ask(door.plain(), CALLERS))[0] == "OK"
    tracing.close()
    call = received.named(f"{SERVICE[1:]}/GetSpace")
    assert received.named("admission").parent_span_id == call.span_id
    segments = {span.span_id: span for span in received.spans if span.name == "segment"}
    assert {span.parent_span_id for span in segments.values()} == {call.span_id}
    assert sorted(attributes(span)["index"] for span in segments.values()) == [0, 1, 2]
    assert all(attributes(s)["modalities"] == "visual" for s in segments.values())
    requests = {s.span_id.hex(): s for s in received.spans if s.name == "model visual_encoder"}
    assert {span.parent_span_id for span in requests.values()} == set(segments)  # each in its own
    assert sorted(given["traceparent"] for given in headers) == sorted(f"00-{TRACE}-{i}-01" for i in requests)
    assert {given["tracestate"] for given in headers} == {"vendor=1"}


async def test_an_exception_leaves_its_type_and_not_its_text(tracing: Tracing, received: Received) -> None:
    with pytest.raises(ValueError, match=CONTENT), tracing.span("reading"):
        raise ValueError(CONTENT)
    tracing.close()
    span = received.named("reading")
    assert span.status.message == "ValueError"
    assert CONTENT not in str(span)


async def test_triton_continues_the_trace(
    small_repository: Path, tracing: Tracing, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton takes the context from gRPC's headers, and with rate=0 traces nothing else."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")  # its exporter asks the environment's proxy otherwise
    with over_http() as at_triton:
        settings = ServerSettings(
            model_repository=small_repository,
            extra=(
                *triton_trace_flags(at_triton.endpoint),
                "--trace-config=opentelemetry,bsp_schedule_delay=100",
            ),
        )
        with TritonServer(settings) as server:
            transport = TritonTransport(server.grpc_address, headers=tracing.request_headers)
            inputs = {"X": np.zeros((1, 3, 8), np.float32)}
            await transport.infer("encoder", inputs, ("Y",), timeout_s=5)  # outside of any span
            unsampled = [("traceparent", CALLERS["traceparent"][:-2] + "00")]
            with tracing.call_span(f"{SERVICE}/EmbedQuery", unsampled), tracing.request_span("encoder"):
                await transport.infer("encoder", inputs, ("Y",), timeout_s=5)
            for _ in range(10):  # its exporter sends once and does not try again: one batch may be lost
                call = tracing.call_span(f"{SERVICE}/EmbedQuery", list(CALLERS.items()))
                with call, tracing.request_span("encoder"):
                    await transport.infer("encoder", inputs, ("Y",), timeout_s=5)
                with contextlib.suppress(AssertionError):
                    await until(lambda: any(span.name == "InferRequest" for span in at_triton.spans), 3)
                    break
            await transport.close()
            log = server.log_tail()
        tracing.close()
        assert at_triton.unreadable == []
        requests = {span.span_id for span in received.spans if span.name == "model encoder"}
        inferred = [span for span in at_triton.spans if span.name == "InferRequest"]
        assert inferred, log
        assert {span.parent_span_id for span in inferred} <= requests
        assert {span.trace_id.hex() for span in at_triton.spans} == {TRACE}
        assert "encoder" in {span.name for span in at_triton.spans}


async def test_a_collector_that_is_gone_costs_the_calls_nothing() -> None:
    with over_grpc() as collector:
        gone = collector.endpoint  # nobody listens there any more
    tracing = Tracing(otlp_exporter(gone))
    async with open_door(tracing=tracing) as door, door.plain() as channel:
        stub = pb_grpc.EmbeddingServiceStub(channel)
        started_s = time.monotonic()
        for _ in range(300):
            await stub.GetSpace(pb.GetSpaceRequest(), timeout=2)
        assert time.monotonic() - started_s < 5
        for _ in range(5000):  # more than are kept
            with tracing.span("segment"):
                pass
    started_s = time.monotonic()
    tracing.close()
    assert time.monotonic() - started_s < 5
    for thread in threading.enumerate():
        if thread.name == "tracing-close":
            thread.join(2)  # the attempt that was under way
            assert not thread.is_alive()


def test_off_it_costs_nothing_measurable_and_is_not_even_imported() -> None:
    tracing = Tracing()
    assert not tracing.on
    assert tracing.request_headers() == {}
    assert tracing.trace_id() == ""
    started_s = time.perf_counter()
    for index in range(10_000):
        with tracing.span("segment", index=index), tracing.request_span("visual_encoder"):
            tracing.annotate(modalities="visual")
            tracing.request_headers()
    assert (time.perf_counter() - started_s) / 10_000 < 50e-6  # a segment costs milliseconds
    tracing.close()
    code = (
        "import sys; from resonance.serving.gateway import interceptors, tracing; t = tracing.Tracing();"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert ended.stdout.strip() == b"[]"
