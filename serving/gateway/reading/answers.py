"""What a reading process has said so far, checked, and those who wait for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from resonance.clients import errors
from resonance.clients.errors import MediaError, MediaLimitError, ResonanceError
from resonance.clients.media.picture import picture_timeout_s
from resonance.clients.media.types import Frames, MediaInfo, ReadTimes, SampledBy, SegmentInput
from resonance.serving.gateway.reading.child import READ_AHEAD_SEGMENTS
from resonance.serving.gateway.reading.limits import ReadLimits, ReadRequest
from resonance.serving.gateway.reading.segments import SegmentCheck
from resonance.serving.gateway.reading.wire import Message, WireError
from resonance.space.descriptor import Descriptor

#: Errors that a process may say: faults of the media.
ERRORS: dict[str, type[MediaError]] = {
    kind.__name__: kind
    for kind in (
        errors.NotMediaError,
        errors.CorruptMediaError,
        errors.NoModalityError,
        errors.MediaLimitError,
        errors.MediaStalledError,
        errors.TranscriptError,
    )
}
MAX_SAID_CHARACTERS = 500
MAX_HANDLES = 16


class Answers:
    """State of one process as it told it.

    Attributes:
        waits: positions it waits for; handles: (position, bytes read) of each of its handles.
        timeout_s: how long it may make no step now.
        furthest: position of the handle that is ahead of the others.
        forgotten: bytes before it were given up by it.
        error: why there is nothing more; over: nothing more is read, well or not.
    """

    def __init__(self, descriptor: Descriptor, request: ReadRequest, limits: ReadLimits) -> None:
        self.times = ReadTimes()
        self.waits: list[int] = []
        self.handles: list[tuple[int, int]] = []
        self.furthest = self.forgotten = 0
        self.error: ResonanceError | None = None
        self.over = False
        self.progressed_at = time.monotonic()
        self.timeout_s = limits.stall_timeout_s
        self._name, self._limits, self._live = request.media_id, limits, request.live
        self._check = SegmentCheck(descriptor, request.first_index)
        self._info: MediaInfo | None = None
        self._segments: deque[SegmentInput] = deque()
        self._frames: list[Frames | None] | None = None  # None: none was asked for
        self._news = asyncio.Event()

    @property
    def queued(self) -> int:
        """Segments that were not taken yet."""
        return len(self._segments)

    @property
    def rests(self) -> bool:
        """Whether it has nothing to do until somebody takes or asks for something."""
        asked = self._frames is not None and not self._frames
        return not asked and (self.over or self.queued >= READ_AHEAD_SEGMENTS)

    def progressed(self) -> None:
        """It made a step, or was not to make one."""
        self.progressed_at = time.monotonic()

    def fail(self, error: ResonanceError) -> None:
        """There is nothing more, for that reason; the first one counts."""
        if self.error is None:
            self.error = error
        self.over = True
        self._wake()

    async def wait(self) -> None:
        """For anything new."""
        await self._news.wait()

    async def info(self) -> MediaInfo:
        """What is known of the media. Raises `error`."""
        while self._info is None:
            await self._wait_or_raise()
        return self._info

    async def next_segment(self) -> SegmentInput | None:
        """The next segment, None after the last. Raises `error`, after the segments before it."""
        while not self._segments:
            if self.error is None and self.over:
                return None
            await self._wait_or_raise()
        self.progressed()
        return self._segments.popleft()

    def ask_frames(self) -> None:
        """An answer with frames is to come."""
        self._frames = []
        self.progressed()

    async def frames(self) -> Frames | None:
        """That answer. Raises `error`."""
        while not self._frames:
            await self._wait_or_raise()
        frames = self._frames.pop()
        self._frames = None
        return frames

    async def _wait_or_raise(self) -> None:
        if self.error is not None:
            raise self.error
        await self._news.wait()

    def take(self, message: Message) -> None:
        """One message.

        Raises:
            WireError: it is not what a process says.
        """
        kind = message.kind
        if kind == "state":
            self._take_state(message)
        elif kind == "still" and self._info is None:
            pixels = min(_count(message.fields.get("pixels")), self._limits.max_picture_pixels)
            self.timeout_s = picture_timeout_s(pixels, self._limits.stall_timeout_s)
        elif kind == "info" and self._info is None:
            self._info = self._checked_length(self._check.info(message, self._name))
            self.timeout_s = self._limits.stall_timeout_s
            self.progressed()
        elif kind == "segment" and self._info is not None and self.queued < READ_AHEAD_SEGMENTS:
            self._take_segment(self._check.segment(message))
        elif kind == "end" and self._info is not None:
            self.over = True
        elif kind == "frames" and self._frames == []:
            self._frames.append(self._check.frames(message))
            self.progressed()
        elif kind == "error":
            self.fail(_error(self._name, message))
        else:
            raise WireError("a message out of turn")
        self._wake()

    def _checked_length(self, info: MediaInfo) -> MediaInfo:
        most_s = self._limits.max_media_s
        if most_s is not None and info.duration_s is not None and info.duration_s > most_s:
            self.fail(self._too_long(info.duration_s))
        return info

    def _take_segment(self, segment: SegmentInput) -> None:
        most_s = self._limits.max_media_s
        if most_s is not None and segment.end_s is not None and segment.end_s > most_s:
            self.fail(self._too_long(segment.end_s))
            return
        if self._live and segment.sampled_by is SampledBy.IMAGE:  # what follows the first would be lost
            expected = (
                "what goes on, such as MPEG-TS; or pictures as `frame` in MODE_FRAMES; or one, not live"
            )
            self.fail(errors.InvalidFieldError("start.live", "true, with a still picture", expected))
            return
        self._segments.append(segment)
        self.progressed()

    def _too_long(self, came_s: float) -> MediaError:
        return MediaLimitError(self._name, f"{came_s:,.0f} s", f"at most {self._limits.max_media_s:,.0f} s")

    def _take_state(self, message: Message) -> None:
        fields, times = message.fields, self.times
        handles = fields.get("handles")
        if not isinstance(handles, list) or len(handles) > MAX_HANDLES:
            raise WireError("handles")
        read_before = (times.steps, self.handles)
        self.handles = [(_count(at), _count(read)) for at, read in map(_pair, handles)]
        waits = fields.get("waits")
        if not isinstance(waits, list) or len(waits) > MAX_HANDLES:
            raise WireError("waits")
        self.waits = [_count(at, least=-1) for at in waits]
        if self.handles:
            self.furthest = max(at for at, _ in self.handles)
        self.forgotten = _count(fields.get("forgotten"))
        if "steps" in fields:
            times.steps, times.broken = _count(fields["steps"]), _count(fields.get("broken"))
            times.demux_s, times.decode_s = _seconds(fields.get("demux_s")), _seconds(fields.get("decode_s"))
            times.missing_s = _seconds(fields.get("missing_s"))
        if (times.steps, self.handles) != read_before:
            self.progressed()

    def _wake(self) -> None:
        """Those who wait now; who waits later waits for what comes later."""
        news, self._news = self._news, asyncio.Event()
        news.set()


def _error(name: str, message: Message) -> MediaError:
    came, expected = message.fields.get("came"), message.fields.get("expected")
    kind = ERRORS.get(str(message.fields.get("type")), errors.CorruptMediaError)
    if not isinstance(came, str) or not isinstance(expected, str):
        raise WireError("error")
    return kind(name, _one_line(came), _one_line(expected))


def _one_line(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text[:MAX_SAID_CHARACTERS])
    return " ".join(plain.split())


def _pair(value: object) -> tuple[object, object]:
    if not isinstance(value, list) or len(value) != 2:
        raise WireError("handles")
    return value[0], value[1]


def _count(value: object, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 2**63:
        raise WireError("a count")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not -1 < value < 1e9:  # type: ignore[operator]
        raise WireError("seconds")
    return max(float(value), 0.0)  # type: ignore[arg-type]
