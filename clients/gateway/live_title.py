"""A live stream's segments and titles, over as many calls as it takes: it goes on where one breaks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from resonance.clients.errors import (
    DeadlineExceededError,
    InvalidFieldError,
    NotMediaError,
    NotResumableError,
    ServerError,
)
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.live import LiveStream
from resonance.clients.gateway.retrying import RetryPolicy, may_retry
from resonance.clients.gateway.titles import TitleCalls
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from resonance.space.descriptor import Descriptor


class LiveTitle:
    """One live stream. Further arguments: see `TitleCalls`.

    Args:
        done: of them the last count, as many as a title covers.
        fuse: makes a title of segments, where the stream ended while no call was there to make it.
        on_break: called with what a call or the source broke with, once until there is a segment again.

    Raises:
        InvalidFieldError: `rolling_every` is below 1.
    """

    def __init__(
        self,
        connection: GatewayConnection,
        descriptor: Descriptor,
        stream: LiveStream,
        *,
        sampling: str | None,
        rolling_every: int,
        done: Sequence[Segment],
        retries: RetryPolicy,
        silence_s: float,
        fuse: Callable[[Sequence[Segment]], Awaitable[MediaEmbedding]],
        on_break: Callable[[Exception], None] | None,
    ) -> None:
        if rolling_every < 1:
            raise InvalidFieldError("rolling_every", str(rolling_every), "at least 1 segment")
        self._stream, self._fuse, self._on_break = stream, fuse, on_break
        self._calls = TitleCalls(
            connection,
            descriptor,
            stream,
            sampling=sampling,
            segments=deque(done, maxlen=descriptor.fusion.max_segments),
            rolling_every=rolling_every,
            retries=retries,
            silence_s=silence_s,
        )

    async def parts(self) -> AsyncGenerator[Part, None]:
        """What is known of the media, segments, rolling titles, and the last title at the stream's end.

        Where a call or the source breaks there is another call, with what happens then: segments go on in
        number and time, what happened meanwhile is in none.

        Raises:
            NotResumableError: a call broke, and what follows of the stream cannot be read from its middle.
            ResonanceError, SpaceError: the last call's or the source's, when trying again does not help.
        """
        calls, stream, is_told = self._calls, self._stream, False
        while not (stream.is_over and calls.segments):
            try:
                await stream.open()
                async with aclosing(calls.one()) as parts:
                    async for part in parts:
                        if isinstance(part, MediaEmbedding) and stream.fault is not None:
                            part = replace(part, rolling=True)  # the last of this call
                        is_told = is_told and not isinstance(part, Segment)
                        yield part
                if stream.fault is None:
                    return
                broken: Exception = stream.fault
            except Exception as error:
                if stream.is_over and calls.segments and not stream.sent_bytes:
                    break  # it ended while there was no call
                if not (self._passes(error) or may_retry(error)):
                    raise
                broken = error
            if not stream.goes_on:
                raise NotResumableError(
                    f"{stream.name}: the connection broke ({broken}), and what follows cannot be read from "
                    "its middle; send MPEG-TS, or begin the stream anew and give the segments as `done`",
                    retry_after_s=broken.retry_after_s if isinstance(broken, ServerError) else None,
                ) from broken
            if self._on_break is not None and not is_told:
                self._on_break(broken)
            is_told = True
            if self._passes(broken):
                waiting = calls.retrying.wait_after(broken)
            else:
                waiting = calls.turn.failed(broken, calls.retrying.wait_after)
            await stream.meanwhile(waiting, to_the_end=not calls.segments)  # else a title can be made now
        yield await self._fuse(tuple(calls.segments))

    def _passes(self, error: Exception) -> bool:
        """Whether it is the stream's own doing, and may pass: nothing comes, or an address is away."""
        return isinstance(error, DeadlineExceededError) or (
            isinstance(error, NotMediaError) and self._stream.may_come_back
        )
