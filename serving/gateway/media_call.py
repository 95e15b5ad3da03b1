"""One call of EmbedMedia: messages in, answers out, over the clients' pipeline.

Three things run side by side: messages are received into the source as fast as it takes them, the pipeline
turns the source into segments and a title, answers go out as fast as the caller reads them. Whoever is slow
slows the one before: nothing piles up.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from resonance.clients.errors import InvalidFieldError
from resonance.clients.finishing import to_the_end
from resonance.clients.gateway.enums import sampling_to_message
from resonance.clients.gateway.messages import (
    FieldNames,
    info_to_message,
    segment_to_message,
    segments_from_messages,
    title_to_message,
)
from resonance.clients.media.types import Damage, MediaInfo, SegmentInput
from resonance.clients.pipeline import Part, TitleOptions, TitlePipeline
from resonance.clients.results import Segment
from resonance.clients.transport import Transport
from resonance.serving.gateway.admission import Stream
from resonance.serving.gateway.exchange import Answers, Requests
from resonance.serving.gateway.intake import Intake, make_intake, named
from resonance.serving.gateway.metrics import Stage
from resonance.serving.gateway.running import Running
from resonance.serving.gateway.shared import Shared
from resonance.serving.gateway.start import Start, read_start
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceMismatchError
from resonance.v1 import embedding_pb2 as pb

T = TypeVar("T")

#: Silence after which a caller is told how far the call is.
PROGRESS_S = 1.0
#: A caller who does not begin is not waited for as long as one who pauses.
START_TIMEOUT_S = 10.0
#: How long a call keeps its place while it has sent no media; see `Stream`.
FIRST_MEDIA_S = 1.0


class MediaCall:
    """See the module.

    Args:
        caller: for whom the call is counted.
        transport: of this call, to the models.
        messages: from the caller; write: answers it, see `Answers`.

    Attributes:
        media_id: the caller's name of the media, once `start` was read.
        answered: segments so far. received_bytes: of media so far.
    """

    def __init__(
        self,
        shared: Shared,
        caller: str,
        transport: Transport,
        messages: AsyncIterator[pb.EmbedMediaRequest],
        write: Callable[[pb.EmbedMediaResponse], Awaitable[None]],
    ) -> None:
        self._shared, self._caller, self._transport = shared, caller, transport
        self._requests = Requests(messages, shared.limits.idle_timeout_s)
        self._answers = Answers(write, shared.limits.idle_timeout_s)
        self._encoding = 0
        self._media_s = 0.0
        self._counted = Damage()  # what of it metrics have
        self._began = time.monotonic()
        self.media_id = ""
        self.answered = 0
        self.received_bytes = 0

    async def run(self) -> None:
        """Answer the caller until the last title.

        Raises:
            ResonanceError, SpaceError: see `resonance.clients.gateway.faults` for what the caller is told.
        """
        start = await self._start()
        shared = self._shared
        descriptor = await shared.served.known()
        if start.expected_fingerprint not in (None, descriptor.fingerprint):
            raise SpaceMismatchError(str(start.expected_fingerprint), descriptor.fingerprint, "the server")
        async with contextlib.AsyncExitStack() as leaving:
            running = await leaving.enter_async_context(
                shared.running.running(self._caller, start.idempotency_key, live=start.live)
            )
            with shared.metrics.time(Stage.ADMISSION), shared.tracing.span("admission", live=start.live):
                stream = await leaving.enter_async_context(
                    shared.admission.stream(self._caller, live=start.live)
                )
            stream.stored.end = running.end
            await self._embed(start, descriptor, stream, running)

    async def _start(self) -> Start:
        message = await self._requests.next(START_TIMEOUT_S)
        if message is None or message.WhichOneof("message") != "start":
            came = "the end of sending" if message is None else named(message)
            raise InvalidFieldError("message", came, "start first")
        start = read_start(message.start, self._shared.limits)
        self.media_id = start.media_id
        return start

    async def _embed(self, start: Start, descriptor: Descriptor, stream: Stream, running: Running) -> None:
        let_in_s = time.monotonic()
        stream.is_busy = lambda: time.monotonic() - let_in_s < FIRST_MEDIA_S
        done, first = await self._stored(start, descriptor, stream)
        first_index = done[-1].index + 1 if done else 0
        intake = make_intake(start, descriptor, first_index, self._shared, self._caller, running.end)
        stream.is_busy = lambda: self._encoding > 0 or not (intake.waiting or self._answers.held_up)
        receiving = asyncio.create_task(self._receive(intake, first))
        self._began = time.monotonic()
        options = TitleOptions(
            max_in_flight=self._shared.limits.max_segments_per_stream,
            done=done,
            rolling_every=start.rolling_every,
            request_timeout_s=self._shared.limits.request_timeout_s,
            slot=self._slot,
        )
        pipeline = TitlePipeline(self._transport, self._shared.served, descriptor, intake.source, options)
        parts = pipeline.parts()
        coming = asyncio.create_task(_next(parts))
        reported = (0, 0)
        try:
            await self._first_of(receiving, intake.begun, coming)
            await self._answers.give(self._accepted(start, descriptor, intake, done))
            while True:
                if not await self._first_of(receiving, coming, timeout_s=PROGRESS_S):
                    now = (intake.received_bytes, self.answered)
                    if now != reported:
                        reported = now
                        await self._answers.give(self._progress(intake))
                    continue
                part = coming.result()
                if part is None:
                    return
                await self._answers.give(self._answer(part))
                coming = asyncio.create_task(_next(parts))
        finally:
            await to_the_end(_leave(receiving, coming, parts, intake))

    @staticmethod
    async def _first_of(
        receiving: asyncio.Task[None],
        wanted: asyncio.Future[T],
        *others: asyncio.Future[Part | None],
        timeout_s: float | None = None,
    ) -> bool:
        """Wait for `wanted` (or one of `others`); whether it is there.

        Raises:
            Exception: what receiving met.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            waits: list[asyncio.Future[Any]] = [wanted, *others]
            if not receiving.done():
                waits.append(receiving)
            left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            done, _ = await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done() and (error := receiving.exception()) is not None:
                raise error
            if wanted.done() or any(other.done() for other in others):
                return True
            if not done:
                return False

    async def _stored(
        self, start: Start, descriptor: Descriptor, stream: Stream
    ) -> tuple[list[Segment], pb.EmbedMediaRequest | None]:
        """Segments of an earlier call, and the first message after them."""
        done: list[Segment] = []
        names = FieldNames.of(descriptor)
        # they are held in memory: of an upload as many as the longest has, of a feed those that a title takes
        limits = self._shared.limits
        longest = math.ceil(limits.max_media_s / descriptor.segment.length_s) + 1
        most = min(longest, limits.max_stored_segments)
        while (message := await self._requests.next()) is not None and message.HasField("stored"):
            stored = message.stored
            if stored.fingerprint != descriptor.fingerprint:
                raise SpaceMismatchError(
                    stored.fingerprint, descriptor.fingerprint, f"{start.media_id}: stored"
                )
            after = done[-1].index if done else -1
            done += segments_from_messages(stored.segments, names, after=after, field="stored.segments")
            if not stored.segments or (len(done) > most and not start.live):
                came = f"{len(done):,} segments" if stored.segments else "no segment"
                raise InvalidFieldError("stored.segments", came, f"1 to {most:,} of a title")
            if start.live:
                del done[: -descriptor.fusion.max_segments]
            self._shared.admission.store(stream, len(done))
        self._shared.metrics.segments_resumed(len(done))
        return done, message

    async def _receive(self, intake: Intake, message: pb.EmbedMediaRequest | None) -> None:
        """Messages into the source until the caller has finished sending."""
        while message is not None:
            before = intake.received_bytes
            await intake.take(message)
            self.received_bytes = intake.received_bytes
            self._shared.metrics.bytes_received(self.received_bytes - before)
            self._count_late(intake)
            message = await self._requests.next()
        await intake.end()
        self._count_late(intake)

    def _count_late(self, intake: Intake) -> None:
        before, now = self._counted, Damage.of(intake.source.times)
        if now == before:
            return
        self._counted = now
        self._shared.metrics.media_late(
            now.late_frames - before.late_frames,
            now.late_sound_s - before.late_sound_s,
            now.late_cues - before.late_cues,
        )

    @asynccontextmanager
    async def _slot(self, given: SegmentInput) -> AsyncIterator[None]:
        self._encoding += 1
        try:
            async with self._shared.segment_place(given):
                yield
        finally:
            self._encoding -= 1

    def _accepted(
        self, start: Start, descriptor: Descriptor, intake: Intake, done: list[Segment]
    ) -> pb.EmbedMediaResponse:
        sampling = start.sampling or descriptor.sampling.default
        return pb.EmbedMediaResponse(
            accepted=pb.EmbedMediaAccepted(
                fingerprint=descriptor.fingerprint,
                space_name=descriptor.name,
                trained=descriptor.trained,
                sampling=sampling_to_message("uniform" if start.mode == "frames" else sampling),
                spooled=intake.spooled,
                first_index=done[-1].index + 1 if done else 0,
            )
        )

    def _progress(self, intake: Intake) -> pb.EmbedMediaResponse:
        return pb.EmbedMediaResponse(
            progress=pb.Progress(
                received_bytes=intake.received_bytes, segments=self.answered, media_s=self._media_s
            )
        )

    def _answer(self, part: Part) -> pb.EmbedMediaResponse:
        if isinstance(part, MediaInfo):
            self._shared.metrics.observe(Stage.READING, time.monotonic() - self._began)
            return pb.EmbedMediaResponse(info=info_to_message(part))
        if isinstance(part, Segment):
            self.answered += 1
            length_s = 0.0
            if part.start_s is not None and part.end_s is not None:
                self._media_s, length_s = part.end_s, part.end_s - part.start_s
            self._shared.metrics.segment_answered(length_s)
            return pb.EmbedMediaResponse(segment=segment_to_message(part))
        if not part.rolling:
            self._shared.metrics.observe(Stage.DEMUX, part.timing.demux_ms / 1e3)
            self._shared.metrics.observe(Stage.DECODE, part.timing.decode_ms / 1e3)
        return pb.EmbedMediaResponse(title=title_to_message(part))


async def _leave(
    receiving: asyncio.Task[None],
    coming: asyncio.Task[Part | None],
    parts: AsyncGenerator[Part, None],
    intake: Intake,
) -> None:
    receiving.cancel()
    coming.cancel()
    await asyncio.gather(receiving, coming, return_exceptions=True)
    await parts.aclose()
    await intake.source.close()  # where the pipeline never began


async def _next(parts: AsyncGenerator[Part, None]) -> Part | None:
    return await anext(parts, None)
