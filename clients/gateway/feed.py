"""A live feed: frames, sound and words sent as they happen, parts taken while it goes on."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from resonance.clients.errors import InvalidFieldError, UsageError
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.enums import modality_to_message
from resonance.clients.gateway.messages import (
    FieldNames,
    info_from_message,
    media_id_of,
    segment_from_message,
    stored_to_messages,
    title_from_message,
)
from resonance.clients.gateway.title_call import embed_media, finish
from resonance.clients.media.text import check_text
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef
from resonance.space.descriptor import Descriptor
from resonance.v1 import embedding_pb2 as pb

T = TypeVar("T")

#: Messages that wait to be taken; a sender that is faster than the gateway waits for room.
QUEUED_MESSAGES = 4
#: Samples of one message; longer stretches are sent in several.
MOST_SAMPLES = 1 << 18


class Feed:
    """One feed of frames, sound and words. Send in one task and iterate in another::

        async with embedder.feed("cam-1", modalities=("visual", "audio")) as feed:
            sending = asyncio.create_task(send(feed))  # feed.frame(...), feed.sound(...), at last feed.end()
            async for part in feed:
                ...  # MediaInfo, Segment, ..., rolling MediaEmbedding, ..., the last MediaEmbedding

    Whoever takes no parts is in the end not sent to either: `frame` and the others wait. What was sent cannot
    be sent again, so a broken feed is not taken up again by itself: open another with ``done=feed.segments``,
    and let its times go on; a clock that begins anew is passed over as far as those segments reach.

    Attributes:
        segments: those answered so far and given as `done`, of a live feed the last that its title covers.
    """

    def __init__(
        self,
        connection: GatewayConnection,
        descriptor: Descriptor,
        media_id: str,
        *,
        modalities: Collection[str],
        live: bool,
        rolling_every: int,
        done: Sequence[Segment],
        silence_s: float,
    ) -> None:
        self._name = media_id
        self._space = SpaceRef.of(descriptor)
        self._names = FieldNames.of(descriptor)
        self.segments: deque[Segment] = deque(done, maxlen=descriptor.fusion.max_segments if live else None)
        self._queue: asyncio.Queue[pb.EmbedMediaRequest | None] = asyncio.Queue(QUEUED_MESSAGES)
        start = pb.EmbedMediaStart(
            media_id=media_id_of(media_id),
            mode=pb.MODE_FRAMES,
            modalities=[modality_to_message(m) for m in modalities],
            expected_fingerprint=descriptor.fingerprint,
            idempotency_key=uuid.uuid4().hex,
            live=live,
            rolling_title_segments=rolling_every if live else 0,
        )
        self._answers = embed_media(
            connection, connection.turn(), self._requests(start, tuple(done)), silence_s=silence_s
        )
        self._connection = connection
        self._ended = False
        self._over = asyncio.Event()
        self._left = False
        self._taking: asyncio.Future[Any] | None = None  # what is being done with the answers
        self._fault: Exception | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        self._over.set()
        if self._taking is not None:  # another task takes parts, and would keep the answers from being closed
            self._taking.cancel()
            await asyncio.wait({self._taking})
        await self._answers.aclose()

    async def frame(self, time_s: float, rgb: NDArray[np.uint8]) -> None:
        """A picture uint8 RGB [height, width, 3], shown at `time_s`; times rise.

        It is one message, of which a gateway takes 16 MiB unless told otherwise: scale a 4K picture down.

        Raises:
            InvalidFieldError: another shape or dtype. What broke the call, where it broke, such as
                RequestRejectedError: a picture that is too large.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise InvalidFieldError("frame.rgb", f"{rgb.dtype} {list(rgb.shape)}", "uint8 [height, width, 3]")
        height, width = rgb.shape[:2]
        message = pb.Frame(time_s=time_s, width_px=width, height_px=height, rgb=rgb.tobytes())
        await self._send(pb.EmbedMediaRequest(frame=message))

    async def sound(self, time_s: float, samples: NDArray[Any], sample_rate_hz: int) -> None:
        """Samples float32 or int16 [n] or [n, channels], the first of them heard at `time_s`.

        Raises:
            InvalidFieldError: another shape or dtype. What broke the call, where it broke.
        """
        samples = samples[:, None] if samples.ndim == 1 else samples
        formats = {"float32": pb.SAMPLE_FORMAT_F32LE, "int16": pb.SAMPLE_FORMAT_S16LE}
        if str(samples.dtype) not in formats or samples.ndim != 2:
            came = f"{samples.dtype} {list(samples.shape)}"
            raise InvalidFieldError("sound.data", came, "float32 or int16 [n] or [n, channels]")
        for at in range(0, len(samples), MOST_SAMPLES // max(samples.shape[1], 1)):
            piece = samples[at : at + MOST_SAMPLES // samples.shape[1]]
            message = pb.Sound(
                time_s=time_s + at / sample_rate_hz,
                sample_rate_hz=sample_rate_hz,
                channels=samples.shape[1],
                format=formats[str(samples.dtype)],
                data=piece.astype(piece.dtype.newbyteorder("<")).tobytes(),
            )
            await self._send(pb.EmbedMediaRequest(sound=message))

    async def cue(self, start_s: float, end_s: float, text: str) -> None:
        """Words shown or said from `start_s` to `end_s`; starts rise.

        Raises:
            NotMediaError: they are not UTF-8. What broke the call, where it broke.
        """
        check_text(text, self._name)
        await self._send(pb.EmbedMediaRequest(cue=pb.Cue(start_s=start_s, end_s=end_s, text=text)))

    async def mark(self, modality: str, time_s: float) -> None:
        """Nothing of `modality` that starts before `time_s` follows. Errors: what broke the call."""
        mark = pb.Mark(modality=modality_to_message(modality), time_s=time_s)
        await self._send(pb.EmbedMediaRequest(mark=mark))

    async def end(self) -> None:
        """The media is complete; the last segments and the title follow."""
        if not self._ended:
            await self._put(None)
            self._ended = True

    async def __aiter__(self) -> AsyncIterator[Part]:
        """What is known of the media, segments, rolling titles, and after `end` the last title.

        Raises:
            ResonanceError, SpaceError: as the gateway raised it. UsageError: the feed was left meanwhile.
        """
        try:
            while (answer := await self._take(lambda: anext(self._answers, None))) is not None:
                part = self._part(answer)
                if isinstance(part, MediaEmbedding) and not part.rolling:
                    await self._take(lambda: finish(self._answers))
                    yield part
                    return
                if part is not None:
                    yield part
        except Exception as error:
            self._fault = error
            raise
        finally:
            self._over.set()

    async def _take(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something with the answers, until the feed is left."""
        if self._left:
            raise UsageError(f"{self._name}: parts asked of a feed that was left")
        taking: asyncio.Future[T] = asyncio.ensure_future(work())
        self._taking = taking
        try:
            return await taking
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._left or (task is not None and task.cancelling()):
                raise
            raise UsageError(f"{self._name}: left here while parts were taken") from None
        finally:
            self._taking = None

    def _part(self, answer: pb.EmbedMediaResponse) -> Part | None:
        with self._connection.reading_answer():
            match answer.WhichOneof("message"):
                case "info":
                    return info_from_message(answer.info, self._name)
                case "segment":
                    after = self.segments[-1].index if self.segments else -1
                    segment = segment_from_message(answer.segment, self._names, after=after)
                    self.segments.append(segment)
                    return segment
                case "title":
                    title = title_from_message(answer.title, self.segments, self._space, self._names)
                    return replace(title, media=self._name)
        return None

    async def _send(self, request: pb.EmbedMediaRequest) -> None:
        if self._ended:
            raise UsageError(f"{self._name}: sent after its end; expected nothing more")
        await self._put(request)

    async def _put(self, request: pb.EmbedMediaRequest | None) -> None:
        """Wait for room, or for the end of the call."""
        if not self._over.is_set():
            if not self._queue.full():
                self._queue.put_nowait(request)
                return
            putting = asyncio.create_task(self._queue.put(request))
            over = asyncio.create_task(self._over.wait())
            try:
                await asyncio.wait({putting, over}, return_when=asyncio.FIRST_COMPLETED)
                if putting.done():
                    return
            finally:
                over.cancel()
                putting.cancel()
        if self._fault is not None:
            raise self._fault
        raise UsageError(f"{self._name}: sent to a feed that is over")

    async def _requests(
        self, start: pb.EmbedMediaStart, done: Sequence[Segment]
    ) -> AsyncGenerator[pb.EmbedMediaRequest, None]:
        yield pb.EmbedMediaRequest(start=start)
        for stored in stored_to_messages(done, self._space.fingerprint):
            yield pb.EmbedMediaRequest(stored=stored)
        while (request := await self._queue.get()) is not None:
            yield request
