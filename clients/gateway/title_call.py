"""One call of EmbedMedia: requests written beside answers that are read, both at the other side's pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import grpc

from resonance.clients.balancing import Turn
from resonance.clients.errors import DeadlineExceededError, ResonanceError
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.faults import from_rpc_error
from resonance.space.errors import SpaceError
from resonance.v1 import embedding_pb2 as pb

#: How often a call that is silent both ways is looked at.
LOOK_S = 5.0
#: How long a call's real end may come after its last answer, or after a write has failed.
SETTLE_S = 1.0
_WRITE_FAILED = "Internal error from Core"


async def embed_media(
    connection: GatewayConnection,
    turn: Turn[Any],
    requests: AsyncGenerator[pb.EmbedMediaRequest, None],
    *,
    silence_s: float,
) -> AsyncGenerator[pb.EmbedMediaResponse, None]:
    """The answers to `requests`. Leaving this generator cancels the call.

    A request is taken only when the one before it went out, so nothing piles up here; and while the caller
    takes no answer none is read, which in the end stops the server.

    Args:
        turn: whose next gateway is called.
        silence_s: give up when for so long no request went out and no answer came.

    Raises:
        ResonanceError, SpaceError: as the gateway raised it. What `requests` raises.
        DeadlineExceededError: after `silence_s`. UsageError: see `GatewayConnection.calling`.
    """
    with connection.calling():
        metadata = await connection.metadata()
        gateway = await turn.pick()
        call = gateway.client.EmbedMedia(metadata=metadata)
        end = _End(call)
        # not call.read(), which forgets answers that arrived when the call's end did
        arriving = aiter(call)
        sender = _Sender(call, requests)
        sending = asyncio.create_task(sender.run())
        reading: asyncio.Task[pb.EmbedMediaResponse | None] | None = None
        try:
            while True:
                reading = asyncio.create_task(_next(arriving))
                asked = time.monotonic()
                while not reading.done():
                    waits = {reading} if sending.done() else {reading, sending}
                    look_s = min(LOOK_S, silence_s)
                    await asyncio.wait(waits, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                    if sending.done():
                        sending.result()  # the media's own fault ends the call
                    silent_s = time.monotonic() - max(asked, sender.sent_at)
                    if not reading.done() and silent_s > silence_s:
                        raise DeadlineExceededError(
                            f"{gateway.address}: nothing was taken and nothing answered for {silent_s:.0f} s"
                        )
                answer, reading = reading.result(), None
                if answer is None:
                    return
                yield answer
        except grpc.aio.AioRpcError as fault:
            error = await end.instead_of(fault)
            if error is not None:
                raise from_rpc_error(error, gateway.address) from fault
        finally:
            call.cancel()
            tasks = [sending, *([reading] if reading is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def finish(answers: AsyncGenerator[pb.EmbedMediaResponse, None]) -> None:
    """Let a call end by itself that has said all: one that is cancelled counts as abandoned over there.

    How it ends changes nothing any more.
    """
    with suppress(ResonanceError, SpaceError, TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            async for _ in answers:
                pass


async def _next(answers: AsyncIterator[pb.EmbedMediaResponse]) -> pb.EmbedMediaResponse | None:
    return await anext(answers, None)


class _End:
    """How a call really ended.

    A server may end a call while a request is still being written. grpc.aio then takes the failed write for
    an internal error and puts that in the place of what the server said, or before it; here that is kept.
    """

    def __init__(self, call: Any) -> None:
        self._told = asyncio.Event()
        self._error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._keep)

    def _keep(self, call: Any) -> None:
        """Called each time that grpc.aio puts down an end; it waits for nothing then."""
        code, details = _at_once(call.code()), _at_once(call.details())
        if details == _WRITE_FAILED or self._told.is_set():
            return
        if code is not grpc.StatusCode.OK:
            trailers = _at_once(call.trailing_metadata())
            self._error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details)
        self._told.set()

    async def instead_of(self, fault: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError | None:
        """The error that ended the call, which `fault` may hide; None: none did."""
        if fault.details() != _WRITE_FAILED:
            return fault
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._told.wait()
                return self._error
        return fault


def _at_once(result: Coroutine[Any, Any, Any]) -> Any:
    """Of a coroutine that has nothing to wait for."""
    try:
        result.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("unreachable: a call that has ended knows how")


class _Sender:
    """Writes requests one after the other; `sent_at`: when the last one was taken."""

    def __init__(self, call: Any, requests: AsyncGenerator[pb.EmbedMediaRequest, None]) -> None:
        self._call, self._requests = call, requests
        self.sent_at = time.monotonic()

    async def run(self) -> None:
        async with aclosing(self._requests) as requests:
            async for request in requests:
                if not await self._write(request):
                    return
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    async def _write(self, request: pb.EmbedMediaRequest) -> bool:
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False  # the call has ended; the answers say why
        self.sent_at = time.monotonic()
        return True
