"""Messages of an upload into the source that the pipeline reads: bytes of a file, or a feed as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from resonance.clients.errors import InvalidFieldError, ResonanceError
from resonance.clients.gateway.enums import modality_from_message
from resonance.clients.media.feed import FeedReader
from resonance.clients.media.feed_values import frame_pixels, sound_samples
from resonance.clients.sources import SegmentSource
from resonance.serving.gateway.reading import MediaProcess, ReadRequest
from resonance.serving.gateway.shared import Shared
from resonance.serving.gateway.start import Start
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.v1 import embedding_pb2 as pb

MAX_CHUNK_BYTES = 4 * 1024 * 1024
SAMPLE_FORMATS: Mapping[int, str] = {pb.SAMPLE_FORMAT_S16LE: "s16le", pb.SAMPLE_FORMAT_F32LE: "f32le"}


class Intake(Protocol):
    """Where messages go.

    Attributes:
        source: what the pipeline reads.
        begun: done once it is known whether the file's index stands at its end.
        spooled: whether it does.
        received_bytes: of media so far.
        waiting: whether the source waits for the caller and has nothing to give.
    """

    begun: asyncio.Future[None]

    @property
    def source(self) -> SegmentSource: ...

    @property
    def spooled(self) -> bool: ...

    @property
    def received_bytes(self) -> int: ...

    @property
    def waiting(self) -> bool: ...

    async def take(self, message: pb.EmbedMediaRequest) -> None:
        """Take a message; returns when the next one may come.

        Raises:
            InvalidFieldError: a message that does not fit the mode. MediaError: over a limit.
        """
        ...

    async def end(self) -> None:
        """The caller has finished sending."""
        ...


class FileIntake:
    """Chunks of a file, into a process of its own."""

    def __init__(self, process: MediaProcess) -> None:
        self.source = process
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process = process

    @property
    def spooled(self) -> bool:
        """See `Intake`."""
        return bool(self._process.spooled)

    @property
    def received_bytes(self) -> int:
        """See `Intake`."""
        return self._process.received_bytes

    @property
    def waiting(self) -> bool:
        """See `Intake`."""
        return self._process.waiting

    async def take(self, message: pb.EmbedMediaRequest) -> None:
        """See `Intake`."""
        if message.WhichOneof("message") != "chunk":
            raise InvalidFieldError("message", named(message), "chunk, with this mode")
        size_bytes = len(message.chunk.data)
        if size_bytes > MAX_CHUNK_BYTES:
            raise InvalidFieldError("chunk.data", f"{size_bytes:,} bytes", f"at most {MAX_CHUNK_BYTES:,}")
        await self._process.feed(message.chunk.offset_bytes, message.chunk.data)
        if self._process.spooled is not None:
            self._begin()

    async def end(self) -> None:
        """See `Intake`."""
        await self._process.end()
        self._begin()

    def _begin(self) -> None:
        if not self.begun.done():
            self.begun.set_result(None)


class FeedIntake:
    """Frames, sound and words, windowed here."""

    spooled = False

    def __init__(self, feed: FeedReader) -> None:
        self.source = feed
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun.set_result(None)
        self.received_bytes = 0
        self._feed = feed

    @property
    def waiting(self) -> bool:
        """See `Intake`."""
        return self._feed.waiting

    async def take(self, message: pb.EmbedMediaRequest) -> None:
        """See `Intake`."""
        which = message.WhichOneof("message")
        if which == "frame":
            frame = message.frame
            self.received_bytes += len(frame.rgb)
            pixels = frame_pixels(frame.width_px, frame.height_px, frame.rgb)
            await self._feed.add_frame(frame.time_s, pixels)
        elif which == "sound":
            sound = message.sound
            self.received_bytes += len(sound.data)
            if sound.format not in SAMPLE_FORMATS:
                allowed = " or ".join(pb.SampleFormat.keys()[1:])
                raise InvalidFieldError("sound.format", str(sound.format), allowed)
            samples = sound_samples(SAMPLE_FORMATS[sound.format], sound.channels, sound.data)
            await self._feed.add_sound(sound.time_s, samples, sound.sample_rate_hz)
        elif which == "cue":
            await self._feed.add_cue(message.cue.start_s, message.cue.end_s, message.cue.text)
        elif which == "mark":
            modality = modality_from_message(message.mark.modality, "mark.modality")
            await self._feed.mark(modality, message.mark.time_s)
        else:
            raise InvalidFieldError("message", named(message), "frame, sound, cue or mark, with this mode")

    async def end(self) -> None:
        """See `Intake`."""
        await self._feed.end()


def named(message: pb.EmbedMediaRequest) -> str:
    """Which it is: its field. A message that is newer than this server has none."""
    return message.WhichOneof("message") or "nothing"


def make_intake(
    start: Start,
    descriptor: Descriptor,
    first_index: int,
    shared: Shared,
    caller: str,
    end: Callable[[ResonanceError], None],
) -> Intake:
    """The intake for a call's mode; `caller`: whose it is; `end`: ends the call, wherever it waits."""
    if start.mode == "frames":
        limits = shared.limits
        return FeedIntake(
            FeedReader(
                descriptor,
                media_id=start.media_id,
                modalities=start.modalities or frozenset(MODALITIES),
                first_index=first_index,
                live=start.live,
                max_frame_pixels=limits.max_video_pixels,
                max_media_s=None if start.live else limits.max_media_s,
            )
        )
    request = ReadRequest(
        media_id=start.media_id,
        mode=start.mode,
        sampling=start.sampling,
        modalities=start.modalities,
        first_index=first_index,
        live=start.live,
        size_bytes=start.size_bytes,
        subtitles=start.subtitles,
    )
    return FileIntake(shared.media_process(request, descriptor, caller, on_given_up=end))
