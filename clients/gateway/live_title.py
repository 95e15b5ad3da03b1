"""A live stream's segments and titles, over as many calls as it takes: it goes on where one breaks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from resonance.clients.errors import NotMediaError, NotResumableError, ServerError
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.live import LiveStream
from resonance.clients.gateway.retrying import RetryPolicy, may_retry
from resonance.clients.gateway.titles import TitleCalls
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from resonance.space.descriptor import Descriptor


class LiveTitle:
    """One live stream. Arguments: see `TitleCalls`; of `done` the last count that a title covers."""

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
    ) -> None:
        self._stream = stream
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
        calls, stream = self._calls, self._stream
        while True:
            try:
                await stream.open()
                async with aclosing(calls.one()) as parts:
                    async for part in parts:
                        if isinstance(part, MediaEmbedding) and stream.fault is not None:
                            part = replace(part, rolling=True)  # of this call the last
                        yield part
                if stream.fault is None:
                    return
                broken: Exception = stream.fault
            except Exception as error:
                if not (may_retry(error) or (isinstance(error, NotMediaError) and stream.may_come_back)):
                    raise
                broken = error
            if not stream.goes_on:
                raise NotResumableError(
                    f"{stream.name}: the connection broke ({broken}), and what follows cannot be read from "
                    "its middle; send MPEG-TS, or begin the stream anew and give the segments as `done`",
                    retry_after_s=broken.retry_after_s if isinstance(broken, ServerError) else None,
                ) from broken
            if isinstance(broken, NotMediaError):
                await calls.retrying.wait_after(broken)
            else:
                await stream.meanwhile(calls.turn.failed(broken, calls.retrying.wait_after))
