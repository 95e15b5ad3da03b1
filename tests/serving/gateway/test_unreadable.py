"""Requests that are no messages, on every kind of call: the caller's fault, and no fault in the log."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2

from resonance.clients.gateway.faults import STATUS_TRAILER
from resonance.serving.gateway.tokens import TokenFile
from resonance.v1 import embedding_pb2 as pb
from tests.serving.gateway.door import SERVICE, open_door, until, write_tokens

#: A field of length 127 that ends after 2 bytes.
GARBAGE = b"\x0a\x7fab"
INFO = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def _call(channel: grpc.aio.Channel, method: str, messages: list[bytes]):  # type: ignore[no-untyped-def]
    if method.endswith(("EmbedMedia", "Info")):
        return channel.stream_stream(method)(iter(messages), timeout=5)
    if method.endswith("Watch"):
        return channel.unary_stream(method)(messages[0], timeout=5)
    return channel.unary_unary(method)(messages[0], timeout=5)


@pytest.mark.parametrize(
    ("method", "messages"),
    [
        (f"{SERVICE}/EmbedQuery", [GARBAGE]),
        (f"{SERVICE}/GetSpace", [GARBAGE]),
        (f"{SERVICE}/EmbedMedia", [GARBAGE]),
        (
            f"{SERVICE}/EmbedMedia",
            [pb.EmbedMediaRequest(start=pb.EmbedMediaStart()).SerializeToString(), GARBAGE],
        ),
        ("/grpc.health.v1.Health/Check", [GARBAGE]),
        ("/grpc.health.v1.Health/Watch", [GARBAGE]),
        (INFO, [GARBAGE]),
    ],
)
async def test_what_is_no_message_is_refused_as_the_callers_fault(
    method: str, messages: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_door() as door, door.plain() as channel:
        call = _call(channel, method, messages)
        if hasattr(call, "read"):  # the end comes after what was answered before it
            with contextlib.suppress(grpc.aio.AioRpcError):
                _ = [answer async for answer in call]
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        trailer = dict(await call.trailing_metadata())[STATUS_TRAILER]
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in Status.FromString(trailer).details)
        assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", "request")
        assert info.metadata["came"] == f"{len(GARBAGE)} bytes that cannot be parsed"
        counted = {"method": method, "code": "INVALID_ARGUMENT"}
        await until(lambda: door.metrics.value("calls_total", **counted) == 1)  # after it was answered
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_is_a_message_passes_as_it_is() -> None:
    async with open_door() as door, door.plain() as channel:
        request = health_pb2.HealthCheckRequest(service="").SerializeToString()
        answer = await channel.unary_unary("/grpc.health.v1.Health/Check")(request)
        assert (
            health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING
        )


async def test_text_that_is_cut_in_the_middle_of_a_character_is_called_so() -> None:
    """As of half an emoji that JavaScript's `slice` left."""
    whole = pb.EmbedQueryRequest(parts=[pb.QueryPart(text="a storm 🌊")]).SerializeToString()
    cut = whole.replace("🌊".encode(), b"\xed\xa0\xbc?")  # as long, so that all else stands as it did
    async with open_door() as door, door.plain() as channel:
        call = _call(channel, f"{SERVICE}/EmbedQuery", [cut])
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "all text in it whole and in UTF-8" in await call.details()


@pytest.mark.parametrize("method", ["GetSpace", "EmbedQuery", "FuseTitle"])
async def test_whoever_has_no_token_is_refused_before_its_request_is_waited_for(
    method: str, tmp_path: Path
) -> None:
    tokens = TokenFile(write_tokens(tmp_path / "tokens"))
    async with open_door(tokens=tokens) as door, door.plain() as channel:
        # as a stream, of which no message is ever sent: on the wire it is the same
        call = channel.stream_unary(f"{SERVICE}/{method}")(timeout=5)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", [f"{SERVICE}/GetSpace", "/grpc.health.v1.Health/Watch", INFO])
async def test_a_request_that_does_not_come_is_not_waited_for_for_ever(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_door(idle_timeout_s=0.2) as door, door.plain() as channel:
        call = channel.stream_stream(method)(timeout=5)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await call.details() == "no message for 0.2 s; expected one, or the end of sending"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_call_that_ends_without_its_request_is_refused() -> None:
    async with open_door() as door, door.plain() as channel:
        call = channel.stream_unary(f"{SERVICE}/GetSpace")(iter(()), timeout=5)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the end of sending" in str(await call.details())


async def test_a_large_request_without_a_token_is_refused_as_such(tmp_path: Path) -> None:
    tokens = TokenFile(write_tokens(tmp_path / "tokens"))
    async with open_door(tokens=tokens) as door, door.plain() as channel:
        call = channel.unary_unary(f"{SERVICE}/EmbedQuery")(bytes(3_000_000), timeout=5)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
