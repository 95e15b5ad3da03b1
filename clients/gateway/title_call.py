"""One call of EmbedMedia: requests written beside answers that are read, both at the other side's pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import grpc

from resonance.clients.errors import DeadlineExceededError, UsageError
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.faults import from_rpc_error
from resonance.v1 import embedding_pb2 as pb

#: How often a call that is silent both ways is looked at.
LOOK_S = 5.0


async def embed_media(
    connection: GatewayConnection, requests: AsyncGenerator[pb.EmbedMediaRequest, None], *, silence_s: float
) -> AsyncGenerator[pb.EmbedMediaResponse, None]:
    """The answers to `requests`. Leaving this generator cancels the call.

    A request is taken only when the one before it went out, so nothing piles up here; and while the caller
    takes no answer none is read, which in the end stops the server.

    Args:
        silence_s: give up when for so long no request went out and no answer came.

    Raises:
        ResonanceError, SpaceError: as the gateway raised it. What `requests` raises.
        DeadlineExceededError: after `silence_s`. UsageError: the connection was closed here meanwhile.
    """
    call = connection.stub.EmbedMedia(metadata=await connection.metadata())
    sender = _Sender(call, requests)
    sending = asyncio.create_task(sender.run())
    reading: asyncio.Task[Any] | None = None
    try:
        while True:
            reading = reading or asyncio.create_task(call.read())
            asked = time.monotonic()
            while not reading.done():
                waits = {reading} if sending.done() else {reading, sending}
                await asyncio.wait(waits, timeout=min(LOOK_S, silence_s), return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()  # the media's own fault ends the call
                silent_s = time.monotonic() - max(asked, sender.sent_at)
                if not reading.done() and silent_s > silence_s:
                    raise DeadlineExceededError(
                        f"{connection.address}: nothing was taken and nothing answered for {silent_s:.0f} s"
                    )
            answer, reading = reading.result(), None
            if answer is grpc.aio.EOF:
                return
            yield answer
    except grpc.aio.AioRpcError as fault:
        raise from_rpc_error(fault, connection.address) from fault
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise UsageError(f"{connection.address}: closed here while a title was under way") from cancelled
    finally:
        call.cancel()
        tasks = [sending, *([reading] if reading is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
