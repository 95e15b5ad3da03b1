"""Calls of the gateway as raw bytes: requests are made before, answers are told apart by their first byte.

So the generator costs little beside the server that it shares two cores with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import error_details_pb2, status_pb2

from resonance.clients.credentials import WITHOUT_PROXY
from resonance.v1 import embedding_pb2 as pb

_SERVICE = "/resonance.v1.EmbeddingService"
DETAILS_TRAILER = "grpc-status-details-bin"
_WRITE_FAILED = "Internal error from Core"


def _tag(field: int) -> int:
    """First byte of a message whose oneof holds the message field `field`."""
    return field << 3 | 2


INFO = _tag(pb.EmbedMediaResponse.INFO_FIELD_NUMBER)
SEGMENT = _tag(pb.EmbedMediaResponse.SEGMENT_FIELD_NUMBER)
TITLE = _tag(pb.EmbedMediaResponse.TITLE_FIELD_NUMBER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went.

    Attributes:
        due_s: when it was to begin, on the monotonic clock. took_s: from then to its end.
        code: gRPC's name of the status. retry_s: RetryInfo's delay where the status has one.
        segments: answered.
    """

    due_s: float
    took_s: float
    code: str
    retry_s: float | None = None
    segments: int = 0

    @property
    def ok(self) -> bool:
        """Whether it was answered in full."""
        return self.code == "OK"


class Wire:
    """A few connections to a gateway, taken in turn; a context manager.

    Args:
        small_window: keep HTTP/2's 64 KiB of answers that nobody has read yet; gRPC makes it megabytes where
            it sees that much coming.
    """

    def __init__(self, address: str, connections: int = 1, *, small_window: bool = False) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            *WITHOUT_PROXY,
            *([("grpc.http2.bdp_probe", 0)] if small_window else []),
        ]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(connections)]
        self._media = [c.stream_stream(f"{_SERVICE}/EmbedMedia") for c in self._channels]
        self._query = [c.unary_unary(f"{_SERVICE}/EmbedQuery") for c in self._channels]
        self._status = self._channels[0].unary_unary(
            f"{_SERVICE}/GetStatus", response_deserializer=pb.GetStatusResponse.FromString
        )
        self._next = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()

    def embed_media(self) -> Any:
        """A call of EmbedMedia; `write`, `done_writing` and `read` take and give bytes."""
        return self._turn(self._media)()

    async def status(self) -> pb.GetStatusResponse:
        """What the gateway does now."""
        answer: pb.GetStatusResponse = await self._status(b"", timeout=10)
        return answer

    async def query(self, request: bytes, *, due_s: float, timeout_s: float = 60.0) -> Outcome:
        """One call of EmbedQuery."""
        call = self._turn(self._query)(request, timeout=timeout_s)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return _failed(error, due_s)
        return Outcome(due_s, time.monotonic() - due_s, "OK")

    async def upload(self, messages: Sequence[bytes], *, due_s: float, timeout_s: float = 60.0) -> Outcome:
        """One call of EmbedMedia: all `messages`, as fast as they are taken."""

        async def requests() -> Any:
            for message in messages:
                yield message

        segments, titled = 0, False
        call = self._turn(self._media)(requests(), timeout=timeout_s)
        end = _FirstEnd(call)
        try:
            async for answer in call:
                segments += answer[0] == SEGMENT
                titled = titled or answer[0] == TITLE
        except grpc.aio.AioRpcError as error:
            return _failed(await end.instead_of(error), due_s, segments)
        return Outcome(due_s, time.monotonic() - due_s, "OK" if titled else "no title", None, segments)

    def _turn(self, of: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
        self._next += 1
        return of[self._next % len(of)]


class _FirstEnd:
    """How the server ended a call, where grpc.aio puts a write that failed because of it in its place."""

    def __init__(self, call: Any) -> None:
        self._ended: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._keep)

    def _keep(self, call: Any) -> None:
        code, details, trailers = (_now(f()) for f in (call.code, call.details, call.trailing_metadata))
        if details != _WRITE_FAILED and not self._ended.done():
            self._ended.set_result(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details))

    async def instead_of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The server's end, `error` where it gave none."""
        if error.details() == _WRITE_FAILED:
            with suppress(TimeoutError):
                return await asyncio.wait_for(self._ended, 1.0)
        return error


def _now(result: Coroutine[Any, Any, Any]) -> Any:
    """Of a coroutine that has nothing to wait for, as those of a call that has ended."""
    try:
        result.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("a call that has ended knows how")


def _failed(error: grpc.aio.AioRpcError, due_s: float, segments: int = 0) -> Outcome:
    return Outcome(due_s, time.monotonic() - due_s, error.code().name, retry_delay_s(error), segments)


def retry_delay_s(error: grpc.aio.AioRpcError) -> float | None:
    """RetryInfo's delay in seconds; None where the status has none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_TRAILER:
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None


def start(media_id: str, mode: pb.Mode, **fields: Any) -> bytes:
    """The first message of a call."""
    return _bytes(pb.EmbedMediaRequest(start=pb.EmbedMediaStart(media_id=media_id, mode=mode, **fields)))


def chunk(offset_bytes: int, data: bytes) -> bytes:
    """A piece of a file."""
    return _bytes(pb.EmbedMediaRequest(chunk=pb.Chunk(offset_bytes=offset_bytes, data=data)))


def frame(time_s: float, width_px: int, height_px: int, rgb: bytes) -> bytes:
    """A picture."""
    message = pb.Frame(time_s=time_s, width_px=width_px, height_px=height_px, rgb=rgb)
    return _bytes(pb.EmbedMediaRequest(frame=message))


def sound(time_s: float, rate_hz: int, data: bytes) -> bytes:
    """Mono s16le."""
    message = pb.Sound(
        time_s=time_s, sample_rate_hz=rate_hz, channels=1, format=pb.SAMPLE_FORMAT_S16LE, data=data
    )
    return _bytes(pb.EmbedMediaRequest(sound=message))


def _bytes(message: pb.EmbedMediaRequest) -> bytes:
    return message.SerializeToString()


def answer(data: bytes) -> pb.EmbedMediaResponse:
    """An answer, read in full."""
    return pb.EmbedMediaResponse.FromString(data)
