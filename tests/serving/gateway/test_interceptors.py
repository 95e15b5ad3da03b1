"""Around a call: all four kinds, faults that are not told, callers that leave."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from resonance.clients.errors import (
    AuthenticationError,
    InvalidFieldError,
    RequestRejectedError,
    ServerFaultError,
)
from resonance.clients.gateway.faults import STATUS_TRAILER, from_rpc_error
from resonance.clients.gateway.retrying import may_retry
from resonance.serving.gateway.listening import MAX_HEADER_BYTES
from resonance.serving.gateway.tokens import TokenFile
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc as pb_grpc
from tests.serving.gateway.door import (
    ALICE,
    BOB,
    CONTENT,
    SERVICE,
    Door,
    ask,
    bearer,
    open_door,
    until,
    write_tokens,
)


def _start(media_id: str) -> pb.EmbedMediaRequest:
    return pb.EmbedMediaRequest(start=pb.EmbedMediaStart(media_id=media_id))


async def test_every_kind_of_call_is_asked_for_a_token_and_counted(tmp_path: Path) -> None:
    async with (
        open_door(tokens=TokenFile(write_tokens(tmp_path / "tokens"))) as door,
        door.plain() as channel,
    ):
        stub = pb_grpc.EmbeddingServiceStub(channel)
        for headers, code in (((), "UNAUTHENTICATED"), (tuple(bearer(ALICE).items()), "OK")):
            # the requests of a stream come once it is accepted: grpc.aio's client makes INTERNAL of a refusal
            # that arrives while it writes
            count = channel.stream_unary("/test.Counter/Count")(metadata=headers, timeout=5)
            media = stub.EmbedMedia(metadata=headers, timeout=5)
            if code == "OK":
                await count.done_writing()
                await media.done_writing()
            codes = [
                await stub.GetSpace(pb.GetSpaceRequest(), metadata=headers, timeout=5).code(),
                await count.code(),
                await _read_all(channel.unary_stream("/test.Counter/Tell")(b"", metadata=headers, timeout=5)),
                await _read_all(media),
            ]
            assert [c.name for c in codes] == [code] * 4
            for method in ("/GetSpace", "/EmbedMedia"):
                assert door.metrics.value("calls_total", method=SERVICE + method, code=code) == 1
            for method in ("Count", "Tell"):
                assert door.metrics.value("calls_total", method=f"/test.Counter/{method}", code=code) == 1
        assert door.metrics.value("calls_running", method=f"{SERVICE}/EmbedMedia") == 0
        # what was refused at the door took no time: else a scan for tokens would be the median of a method
        assert door.metrics.value("call_seconds_count", method=f"{SERVICE}/EmbedMedia") == 1


@pytest.mark.parametrize(
    ("method", "headers", "reason", "kind"),
    [
        ("GetSpace", {}, "AUTHENTICATION", AuthenticationError),
        ("GetSpace", {"x-large": "x" * MAX_HEADER_BYTES}, "INVALID_FIELD", InvalidFieldError),
        ("GetStatus", bearer(ALICE), "INTERNAL", ServerFaultError),
        ("Nothing", bearer(ALICE), "NO_SUCH_METHOD", RequestRejectedError),
    ],
)
async def test_whoever_is_refused_is_told_the_reason_in_a_status(
    tmp_path: Path, method: str, headers: dict[str, str], reason: str, kind: type[Exception]
) -> None:
    async with (
        open_door(tokens=TokenFile(write_tokens(tmp_path / "tokens"))) as door,
        door.plain() as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"{SERVICE}/{method}")(b"", metadata=tuple(headers.items()), timeout=5)
    status = Status.FromString(dict(refused.value.trailing_metadata())[STATUS_TRAILER])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("resonance", reason)
    assert (status.code, status.message) == (refused.value.code().value[0], refused.value.details())
    back = from_rpc_error(refused.value, "here:1")
    assert type(back) is kind
    assert not may_retry(back) or kind is ServerFaultError


async def test_a_call_ends_when_its_token_is_taken_away(tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens", f"alice {ALICE}\nalice {'c' * 40}\nbob {BOB}\n")
    seconds = [0.0]
    tokens = TokenFile(path, clock=lambda: seconds[0])
    async with open_door(tokens=tokens) as door, door.plain() as channel:
        stub = pb_grpc.EmbeddingServiceStub(channel)
        alice, renewed, bob = (
            stub.EmbedMedia(metadata=tuple(bearer(token).items())) for token in (ALICE, "c" * 40, BOB)
        )
        for call in (alice, renewed, bob):
            await call.write(_start("film"))
            await call.read()
        write_tokens(path, f"alice {'c' * 40}\nbob {BOB}\n# so that its size differs\n")
        seconds[0] += 2
        door.interceptor.end_revoked()
        assert await asyncio.wait_for(alice.code(), 5) == grpc.StatusCode.UNAUTHENTICATED
        assert await alice.details() == "a valid bearer token is needed"
        for call in (renewed, bob):
            await call.write(pb.EmbedMediaRequest(chunk=pb.Chunk(data=b"x")))
            assert (await call.read()).segment.index == 1
            await call.done_writing()
            assert await call.code() == grpc.StatusCode.OK
        await until(lambda: _ended(door, "UNAUTHENTICATED") == 1)  # after it was answered
        assert door.metrics.abandoned() == 0


async def test_answers_pass_through_while_requests_still_come() -> None:
    async with open_door() as door, door.plain() as channel:
        call = pb_grpc.EmbeddingServiceStub(channel).EmbedMedia()
        await call.write(_start("film"))
        assert (await call.read()).accepted.space_name == "127.0.0.1"
        assert door.metrics.value("calls_running", method=f"{SERVICE}/EmbedMedia") == 1
        await call.write(pb.EmbedMediaRequest(chunk=pb.Chunk(data=b"x")))
        assert (await call.read()).segment.index == 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_the_code_of_an_abort_is_counted() -> None:
    async with open_door() as door:
        assert await ask(door.plain(), method="EmbedQuery") == (
            "INVALID_ARGUMENT",
            "parts: none; expected at least one",
        )
        counted = {"method": f"{SERVICE}/EmbedQuery", "code": "INVALID_ARGUMENT"}
        await until(lambda: door.metrics.value("calls_total", **counted) == 1)  # after it was answered


async def test_a_fault_is_found_in_the_log_by_its_number_and_quotes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with open_door() as door:
        code, said = await ask(door.plain(), method="GetStatus")
    assert code == "INTERNAL"
    assert CONTENT not in said
    (fault,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert fault.incident in said  # type: ignore[attr-defined]
    assert "RuntimeError at" in fault.getMessage()
    assert "GetStatus" in fault.getMessage()
    assert CONTENT not in caplog.text


async def test_a_caller_that_leaves_is_counted_at_once() -> None:
    async with open_door() as door, door.plain() as channel:
        call = pb_grpc.EmbeddingServiceStub(channel).EmbedMedia(iter([_start("hang")]))
        await until(lambda: door.metrics.value("calls_running", method=f"{SERVICE}/EmbedMedia") == 1)
        call.cancel()
        await until(lambda: door.metrics.abandoned() == 1)
        assert _ended(door, "CANCELLED") == 1
        assert door.metrics.value("calls_running", method=f"{SERVICE}/EmbedMedia") == 0


async def test_a_watch_of_health_that_its_caller_closes_is_no_abandoned_work() -> None:
    """Clients with several gateways hold one open for as long as their connection stands."""
    method = "/grpc.health.v1.Health/Watch"
    async with open_door() as door, door.plain() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for timeout in (None, 0.2):
            before = door.metrics.value("calls_total", method=method, code="OK")
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=timeout)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            assert door.metrics.value("calls_running", method=method) == 1
            if timeout is None:
                watch.cancel()
            await until(lambda b=before: door.metrics.value("calls_total", method=method, code="OK") == b + 1)
        await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        checked = {"method": "/grpc.health.v1.Health/Check", "code": "OK"}
        await until(lambda: door.metrics.value("calls_total", **checked) == 1)
        assert door.metrics.abandoned() == 0
        for code in ("CANCELLED", "DEADLINE_EXCEEDED"):
            assert door.metrics.value("calls_total", method=method, code=code) == 0
        # nor are hours of a watch the latency of anything
        timed = {
            s.labels["method"]
            for f in door.metrics.registry.collect()
            for s in f.samples
            if s.name == "resonance_gateway_call_seconds_count"
        }
        assert not {m for m in timed if "health" in m}


async def test_a_check_of_health_that_is_not_waited_for_is_counted_and_not_abandoned() -> None:
    class Slow(health_pb2_grpc.HealthServicer):
        async def Check(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
            await asyncio.Event().wait()

    async with open_door(health_service=Slow()) as door, door.plain() as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=0.2)
        counted = {"method": "/grpc.health.v1.Health/Check", "code": "DEADLINE_EXCEEDED"}
        await until(lambda: door.metrics.value("calls_total", **counted) == 1)
        assert door.metrics.abandoned() == 0


async def test_a_deadline_that_passes_is_counted_as_such() -> None:
    async with open_door() as door, door.plain() as channel:
        call = pb_grpc.EmbeddingServiceStub(channel).EmbedMedia(iter([_start("hang")]), timeout=0.2)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: door.metrics.abandoned() == 1)
        assert _ended(door, "DEADLINE_EXCEEDED") == 1


async def test_a_caller_that_leaves_between_two_answers_ends_the_handler() -> None:
    ended = asyncio.Event()

    class Endless(pb_grpc.EmbeddingServiceServicer):
        async def EmbedMedia(self, requests, context):  # type: ignore[no-untyped-def]  # noqa: N802
            try:
                while True:
                    yield pb.EmbedMediaResponse(segment=pb.Segment(vector=[0.0] * 100_000))
            finally:
                ended.set()

    async with open_door(service=Endless()) as door, door.plain() as channel:
        call = pb_grpc.EmbeddingServiceStub(channel).EmbedMedia(iter([_start("m")]))
        await call.read()  # and no more: the server's next writes wait
        await asyncio.sleep(0.2)
        assert not ended.is_set()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 2)
        await until(lambda: _ended(door, "CANCELLED") == 1)


async def test_the_end_of_a_call_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tokens = TokenFile(write_tokens(tmp_path / "tokens"))
    async with open_door(tokens=tokens) as door, door.plain() as channel:
        requests = [_start("film-7"), pb.EmbedMediaRequest(chunk=pb.Chunk(data=b"12345"))]
        stub = pb_grpc.EmbeddingServiceStub(channel)
        await _read_all(stub.EmbedMedia(iter(requests), metadata=tuple(bearer(ALICE).items())))
        await ask(door.plain())
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
    shown = {"media_id": "film-7", "caller": "alice", "method": "EmbedMedia", "code": "OK"}
    shown |= {"segments": 1, "received_bytes": 5}
    ended, refused = (r for r in caplog.records if r.name.endswith("gateway.calls"))  # health is quiet
    assert {name: ended.__dict__[name] for name in shown} == shown
    assert ended.__dict__["duration_ms"] > 0
    assert refused.getMessage() == "call refused"
    assert refused.__dict__["code"] == "UNAUTHENTICATED"
    assert refused.__dict__["caller"] == "127.0.0.1"


async def test_callers_without_a_token_do_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        open_door(tokens=TokenFile(write_tokens(tmp_path / "tokens"))) as door,
        door.plain() as channel,
    ):
        call = channel.unary_unary(f"{SERVICE}/GetSpace")
        await asyncio.gather(*(call(b"") for _ in range(100)), return_exceptions=True)
        unknown = health_pb2.HealthCheckRequest(service="x").SerializeToString()
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        await asyncio.gather(*(check(unknown) for _ in range(100)), return_exceptions=True)
    assert door.metrics.value("unauthenticated_total", method=f"{SERVICE}/GetSpace") == 100
    for said in ("call refused", "call ended"):
        lines = [r for r in caplog.records if r.getMessage() == said and r.levelno >= logging.INFO]
        assert 10 <= len(lines) < 100


def _ended(door: Door, code: str) -> float:
    return door.metrics.value("calls_total", method=f"{SERVICE}/EmbedMedia", code=code)


async def _read_all(call: grpc.aio.StreamStreamCall) -> grpc.StatusCode:
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code()
