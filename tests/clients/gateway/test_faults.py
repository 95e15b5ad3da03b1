"""Every error of the trees has a row, and comes back over a real connection as what it was."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import grpc
import pytest
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from resonance.clients import errors as e
from resonance.clients.gateway.faults import (
    DEFAULT_RETRY_S,
    DOMAIN,
    FAULTS,
    MAX_TEXT_BYTES,
    STATUS_TRAILER,
    from_rpc_error,
    reason_of,
    to_status,
    trailer_of,
)
from resonance.clients.gateway.retrying import may_retry
from resonance.space import errors as s


def tree(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(tree(kind) for kind in root.__subclasses__()))


OURS = {
    kind
    for kind in tree(e.ResonanceError) | tree(s.SpaceError)
    if kind.__module__ in (e.__name__, s.__name__)
}


def example(kind: type[Exception]) -> Exception:
    if issubclass(kind, e.MediaError):
        return kind("film.mp4", "3 frames", "a picture")
    if issubclass(kind, e.InvalidFieldError):
        return kind("start.mode", "MODE_UNSPECIFIED", "a mode")
    if issubclass(kind, s.SpaceMismatchError):
        return kind("ab" * 32, "cd" * 32, "stored segments")
    if issubclass(kind, e.ServerError):
        return kind("it is full", retry_after_s=2.5)
    return kind("it went wrong")


def details_of(status: Status) -> dict[str, object]:
    kinds = (
        details.ErrorInfo,
        details.ResourceInfo,
        details.RetryInfo,
        details.BadRequest,
        details.QuotaFailure,
    )
    found: dict[str, object] = {}
    for packed in status.details:
        for kind in kinds:
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


def test_every_error_has_a_row_and_no_row_is_left_over() -> None:
    assert set(FAULTS) == OURS
    assert len({reason_of(kind) for kind in OURS}) == len(OURS)
    assert reason_of(e.ServerUnavailableError) == "SERVER_UNAVAILABLE"


@pytest.mark.parametrize("kind", sorted(OURS, key=lambda k: k.__name__))
def test_an_error_travels_with_what_its_caller_needs(kind: type[Exception]) -> None:
    error = example(kind)
    status = to_status(error, "film.mp4")
    found = details_of(status)
    assert status.code == FAULTS[kind].code.value[0]
    info = found["ErrorInfo"]
    assert isinstance(info, details.ErrorInfo)
    assert (info.domain, info.reason) == (DOMAIN, reason_of(kind))
    resource = found["ResourceInfo"]
    assert isinstance(resource, details.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("media", "film.mp4")
    may_retry = FAULTS[kind].code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert ("RetryInfo" in found) == may_retry
    assert ("BadRequest" in found) == issubclass(kind, e.UsageError | s.WeightError | s.BlockError)
    assert ("QuotaFailure" in found) == (kind in (e.MediaLimitError, e.OverloadedError))


def test_an_error_that_a_module_keeps_to_itself_travels_as_the_nearest_above() -> None:
    class OnlyHereError(e.CorruptMediaError):
        pass

    status = to_status(OnlyHereError("a", "b", "c"), "a")
    info = details_of(status)["ErrorInfo"]
    assert isinstance(info, details.ErrorInfo)
    assert info.reason == "CORRUPT_MEDIA"
    assert status.code == 3


def test_a_retry_delay_is_the_errors_own_or_a_second() -> None:
    for error, delay_s in (
        (e.OverloadedError("full", retry_after_s=0.25), 0.25),
        (e.OverloadedError("full"), DEFAULT_RETRY_S),
    ):
        retry = details_of(to_status(error, ""))["RetryInfo"]
        assert isinstance(retry, details.RetryInfo)
        assert retry.retry_delay.ToNanoseconds() == delay_s * 1e9


def test_a_retry_delay_is_told_to_the_retries_of_a_service_config_too() -> None:
    for error, told in (
        (e.OverloadedError("full", retry_after_s=0.2001), {"grpc-retry-pushback-ms": "201"}),
        (e.NotMediaError("film", "words", "a film"), {}),
    ):
        status = to_status(error, "")
        assert dict(trailer_of(status)) == {STATUS_TRAILER: status.SerializeToString()} | told


class Thrower(grpc.GenericRpcHandler):
    """Answers every call with the status it is told."""

    def __init__(self) -> None:
        self.error: BaseException = RuntimeError()
        self.trailer: bytes | None = None
        self.code = grpc.StatusCode.INTERNAL

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        status = to_status(self.error, "film 🎬.mp4")
        trailer = status.SerializeToString() if self.trailer is None else self.trailer
        await context.abort(self.code, status.message, ((STATUS_TRAILER, trailer), *trailer_of(status)[1:]))
        return b""


@pytest.fixture
async def thrower() -> AsyncIterator[tuple[Thrower, grpc.aio.Channel]]:
    server, handler = grpc.aio.server(), Thrower()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield handler, channel
    await server.stop(None)


async def caught(channel: grpc.aio.Channel, request: bytes = b"") -> Exception:
    try:
        await channel.unary_unary("/any/Method")(request)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, "here:1")
    raise AssertionError("the call succeeded")


async def test_every_error_comes_back_over_the_wire(thrower: tuple[Thrower, grpc.aio.Channel]) -> None:
    handler, channel = thrower
    for kind in OURS:
        sent = example(kind)
        handler.error, handler.code = sent, FAULTS[kind].code
        back = await caught(channel)
        assert type(back) is kind
        for name in ("came", "expected", "found", "field"):
            assert getattr(back, name, None) == getattr(sent, name, None), (kind, name)
        if isinstance(back, e.MediaError):
            assert back.media == "film 🎬.mp4"
        elif not isinstance(back, s.SpaceMismatchError):
            assert str(sent) in str(back)
        if FAULTS[kind].retry:
            assert isinstance(back, e.ServerError)
            assert back.retry_after_s == 2.5


async def test_long_and_foreign_text_still_arrives(thrower: tuple[Thrower, grpc.aio.Channel]) -> None:
    """A name of 512 bytes in every field, of characters that gRPC writes as twelve: still under its 8 KiB."""
    handler, channel = thrower
    handler.error = e.MediaLimitError("🎬" * 128, "🎬" * 5000, "\udcff" * 5000)
    handler.code = grpc.StatusCode.INVALID_ARGUMENT
    back = await caught(channel)
    assert isinstance(back, e.MediaLimitError)
    assert len(back.came.encode()) <= MAX_TEXT_BYTES
    assert back.came.endswith("…")


async def test_an_error_that_is_not_ours_says_nothing(thrower: tuple[Thrower, grpc.aio.Channel]) -> None:
    handler, channel = thrower
    handler.error = ValueError("/etc/secret: token=abc")
    back = await caught(channel)
    assert type(back) is e.ServerFaultError
    assert "secret" not in str(back)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, e.ServerUnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, e.OverloadedError),
        (grpc.StatusCode.UNAUTHENTICATED, e.AuthenticationError),
        (grpc.StatusCode.UNIMPLEMENTED, e.RequestRejectedError),
        (grpc.StatusCode.DATA_LOSS, e.ServerFaultError),
    ],
)
@pytest.mark.parametrize(
    "trailer",
    [
        b"",
        b"\xff\xff\xff",
        Status(details=[]).SerializeToString(),
        to_status(ValueError(), "a").SerializeToString().replace(b"INTERNAL", b"UNKNOWN_"),
        to_status(e.NotMediaError("a", "b", "c"), "a")
        .SerializeToString()
        .replace(b"resonance", b"elsewhere"),
    ],
)
async def test_what_is_not_known_falls_back_to_the_code(
    thrower: tuple[Thrower, grpc.aio.Channel], code: grpc.StatusCode, kind: type[Exception], trailer: bytes
) -> None:
    handler, channel = thrower
    handler.code, handler.trailer = code, trailer
    assert type(await caught(channel)) is kind


async def test_a_message_that_can_never_pass_is_no_overload() -> None:
    server, handler = grpc.aio.server(options=[("grpc.max_receive_message_length", 1000)]), Thrower()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        back = await caught(channel, bytes(2000))
    await server.stop(None)
    assert type(back) is e.RequestRejectedError
    assert not may_retry(back)
    assert re.search(r"larger than max \(2000 vs\. 1000\) bytes; send less .*--max-message-bytes", str(back))


async def test_headers_that_can_never_pass_are_no_overload() -> None:
    bounds = [("grpc.max_metadata_size", 1000), ("grpc.absolute_max_metadata_size", 1000)]
    server, handler = grpc.aio.server(options=bounds), Thrower()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/any/Method")(b"", metadata=(("authorization", "x" * 2000),))
    await server.stop(None)
    back = from_rpc_error(refused.value, "here:1")
    assert type(back) is e.RequestRejectedError
    assert not may_retry(back)
    assert str(back).endswith("; send less metadata with a call")


async def test_no_server_says_how_to_start_one() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        back = await caught(channel)
    assert type(back) is e.ServerUnavailableError
    assert "resonance serve --gateway" in str(back)


async def test_the_retries_of_a_service_config_wait_as_long_as_is_asked() -> None:
    """gRPC does that itself, in any language: by its own bounds this one would wait for minutes."""
    calls_s: list[float] = []

    async def full_at_first(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        calls_s.append(time.monotonic())
        if len(calls_s) < 3:
            full = to_status(e.OverloadedError("full", retry_after_s=0.2), "")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, full.message, trailer_of(full))
        return b"done"

    retries = {"maxAttempts": 3, "initialBackoff": "300s", "maxBackoff": "300s", "backoffMultiplier": 1}
    retries["retryableStatusCodes"] = ["RESOURCE_EXHAUSTED"]
    config = {"methodConfig": [{"name": [{}], "retryPolicy": retries}]}
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(full_at_first)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any", {"Method": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = (("grpc.service_config", json.dumps(config)),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        assert await channel.unary_unary("/any/Method")(b"", timeout=5) == b"done"
    await server.stop(None)
    assert [later - earlier >= 0.15 for earlier, later in pairwise(calls_s)] == [True, True]
