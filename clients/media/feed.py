"""A feed of raw frames, sound and cues, as they happen, into segments."""

from __future__ import annotations

import asyncio

import numpy as np

from resonance.clients.errors import InvalidFieldError, MediaLimitError, NoModalityError, UsageError
from resonance.clients.media.feed_clocks import BEHIND_S
from resonance.clients.media.feed_values import SAME_TIME_S, check_channels, check_rate, check_time
from resonance.clients.media.feed_windows import FeedWindows
from resonance.clients.media.types import ByteArray, FloatArray, Frames, MediaInfo, ReadTimes, SegmentInput
from resonance.clients.media.words import Cue
from resonance.space.descriptor import MODALITIES, Descriptor

#: Closed windows that may wait to be taken; with more, adding waits.
MAX_READY = 2
#: A longer stretch of sound is taken in pieces of this length, between which it may have to wait.
STRETCH_S = 1.0
#: What the streams are called where a container would name codecs.
_CODECS = {"visual": ("video", "rawvideo"), "audio": ("audio", "pcm"), "transcript": ("subtitle", "text")}


class FeedReader:
    """Segments of a feed that is told what happens by `add_frame`, `add_sound`, `add_cue`, `mark` and `end`.

    All is called from one event loop, the adding calls one at a time; there is no thread. Frames are chosen
    and sound is resampled as `uniform` does from a file with the same content.

    A window closes when pictures and sound, as far as they are declared, have passed its end, and words have
    too (by a cue's start or a mark) or the others are 4 s past it. What is more than 8 s behind the other is
    not waited for. What comes of it after its window closed is dropped and counted in `times` where the feed
    is live, and refused where it is not: whoever reads from a file can send it in the order of time.

    Memory does not grow with the feed or its speed: adding waits while more than `MAX_READY` closed windows
    are to be taken by `next`. With windows of 8 s there are never more than six (16 frames of the space's
    geometry and 8 s of PCM: 2.9 MB each at 224x224 and 16 kHz), the last frame as it came (3 x
    `max_frame_pixels` bytes), and words up to `feed_windows.MAX_WORDS_HELD` characters.

    Args:
        media_id: what to call the feed in errors.
        modalities: those that will come.
        first_index: windows before this one are ignored, for a feed that is resumed.
        live: it happens now.
        max_frame_pixels: largest frame taken.
        max_media_s: latest time taken; None: any.

    Raises:
        InvalidFieldError: no modality, or an unknown one.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        media_id: str,
        modalities: frozenset[str],
        first_index: int = 0,
        live: bool,
        max_frame_pixels: int,
        max_media_s: float | None = None,
    ) -> None:
        if not modalities or not modalities <= set(MODALITIES):
            raise InvalidFieldError(
                "modalities", ", ".join(sorted(modalities)) or "none", f"some of {', '.join(MODALITIES)}"
            )
        self.times = ReadTimes()
        self._media_id, self._modalities, self._first_index = media_id, modalities, first_index
        self._max_frame_pixels, self._max_media_s = max_frame_pixels, max_media_s
        self._silence_dbfs = descriptor.sound.silence_dbfs
        self._windows: FeedWindows | None = FeedWindows(
            descriptor,
            name=media_id,
            modalities=modalities,
            first_index=first_index,
            live=live,
            times=self.times,
        )
        self._after: dict[str, tuple[float, str]] = {}  # by modality: what may come now, and since what
        self._ended = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    # The source's side: see `resonance.clients.sources.SegmentSource`.

    async def open(self) -> MediaInfo:
        """What is known of the feed: its modalities."""
        codecs = dict(_CODECS[m] for m in MODALITIES if m in self._modalities)
        return MediaInfo(self._media_id, "frames", None, codecs)

    async def next(self) -> SegmentInput | None:
        """The next window with content, None at the end.

        Raises:
            NoModalityError: at the end, if no window had content and none was to be ignored.
        """
        while self._windows is not None:
            segment = self._windows.take()
            self._room.set()
            if segment is not None:
                return segment
            if self._ended:
                if not self._windows.given and not self._first_index:
                    raise NoModalityError.nothing(self._media_id, self._silence_dbfs)
                return None
            self._news.clear()
            await self._news.wait()
        return None

    async def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """None: frames come decoded, and those chosen stand with their segment."""
        return None

    async def close(self) -> None:
        """Forget everything. What is added from now on is dropped, and whoever waits goes on."""
        self._windows = None
        self._news.set()
        self._room.set()

    @property
    def waiting(self) -> bool:
        """Whether it waits for what is added, and has no window to give."""
        return not self._ended and (self._windows is None or not self._windows.ready)

    # The feeding side.

    async def add_frame(self, time_s: float, rgb: ByteArray) -> None:
        """A picture uint8 RGB [H, W, 3] that is shown at `time_s`; frames come in rising time.

        An array that may be written to is copied; another is kept until the next frame.

        Raises:
            InvalidFieldError: no such array, or a time that is none, falls back, was marked as passed, or is
                too late for a feed that is not live.
            MediaLimitError: too many pixels, or too late a time. UsageError: undeclared, or after the end.
        """
        windows = await self._room_for("visual", "frame")
        if windows is None:
            return
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise InvalidFieldError("frame.rgb", f"{rgb.dtype} {list(rgb.shape)}", "uint8 [height, width, 3]")
        height, width = rgb.shape[:2]
        if height * width > self._max_frame_pixels:
            raise MediaLimitError(
                self._media_id,
                f"a frame of {width}x{height} pixels",
                f"at most {self._max_frame_pixels:,} pixels",
            )
        time_s = self._checked("visual", "frame.time_s", time_s)
        windows.put_frame(time_s, rgb.copy() if rgb.flags.writeable else np.ascontiguousarray(rgb))
        self._passed("visual", time_s, "the frame before", windows)

    async def add_sound(self, time_s: float, samples: FloatArray, sample_rate_hz: int) -> None:
        """Samples float32 [n, channels], full scale 1, of which the first is heard at `time_s`.

        Stretches come in rising time; a gap is silence. A time within 0.1 s of the end of the stretch before
        is taken as that end; an earlier one overwrites what was there. Where pictures come too, a stretch is
        8 s at most: a longer one would leave them so far behind that they are not waited for.

        Raises:
            InvalidFieldError: no such array, rate or channels out of bounds, too long a stretch, or a time
                that is none, falls back, was marked as passed, or is too late for a feed that is not live.
            MediaLimitError: too late a time. UsageError: undeclared, or after the end.
        """
        windows = await self._room_for("audio", "sound")
        if windows is None:
            return
        if samples.dtype != np.float32 or samples.ndim != 2:
            raise InvalidFieldError(
                "sound.data", f"{samples.dtype} {list(samples.shape)}", "float32 [n, channels]"
            )
        check_channels(samples.shape[1])
        check_rate(sample_rate_hz)
        lasts_s = samples.shape[0] / sample_rate_hz
        if lasts_s > BEHIND_S and "visual" in self._modalities:
            raise InvalidFieldError(
                "sound.data", f"{lasts_s:,.1f} s", f"at most {BEHIND_S:g} s a stretch, with pictures between"
            )
        time_s = self._checked("audio", "sound.time_s", time_s, lasts_s=lasts_s)
        step = round(STRETCH_S * sample_rate_hz)
        for first in range(0, samples.shape[0], step):
            if first and (await self._room_for("audio", "sound")) is None:
                return
            windows.put_sound(time_s + first / sample_rate_hz, samples[first : first + step], sample_rate_hz)
            self._passed("audio", time_s, "the stretch before", windows)

    async def add_cue(self, start_s: float, end_s: float, text: str) -> None:
        """Words that are shown or said from `start_s` to `end_s`; cues come in rising start.

        Raises:
            InvalidFieldError: a time that is none, falls back, was marked as passed, or is too late for a
                feed that is not live.
            MediaLimitError: too late a time, or more words than may wait. UsageError: undeclared, or after
                the end.
        """
        windows = await self._room_for("transcript", "cue")
        if windows is None:
            return
        start_s = self._checked("transcript", "cue.start_s", start_s)
        end_s = check_time("cue.end_s", end_s, after_s=start_s, after="the cue's start")
        windows.put_cue(Cue(start_s, end_s, " ".join(text.split())))
        self._passed("transcript", start_s, "the cue before", windows)

    async def mark(self, modality: str, time_s: float) -> None:
        """Nothing of `modality` that starts before `time_s` follows.

        Raises:
            InvalidFieldError: not a time. MediaLimitError: too late a time. UsageError: undeclared, or after
                the end.
        """
        windows = await self._room_for(modality, "mark")
        if windows is None:
            return
        check_time("mark.time_s", time_s)
        self._check_length(time_s)
        windows.mark(modality, time_s)
        self._passed(modality, time_s, "the mark", windows)

    async def end(self) -> None:
        """Nothing follows: all windows close. Does not wait; a second call does nothing."""
        if self._windows is None or self._ended:
            return
        self._ended = True
        self._windows.finish()
        self._news.set()

    async def _room_for(self, modality: str, what: str) -> FeedWindows | None:
        """Where to put something, as soon as there is room; None where nobody takes it any more.

        Raises:
            UsageError: `modality` was not declared, or the feed has ended.
        """
        if modality not in self._modalities:
            declared = ", ".join(sorted(self._modalities))
            raise InvalidFieldError(what, f"one of {modality}", f"only what was declared: {declared}")
        while self._windows is not None and self._windows.ready > MAX_READY:
            self._room.clear()
            await self._room.wait()
        if self._ended:
            raise UsageError(f"{self._media_id}: a {what} came after the end; expected nothing more")
        self.times.steps += 1
        return self._windows

    def _checked(self, modality: str, field: str, time_s: float, *, lasts_s: float = 0.0) -> float:
        after_s, after = self._after.get(modality, (0.0, "the start"))
        time_s = check_time(field, time_s, after_s=after_s, after=after)
        self._check_length(time_s + lasts_s)
        return time_s

    def _check_length(self, time_s: float) -> None:
        if self._max_media_s is not None and time_s > self._max_media_s + SAME_TIME_S:
            raise MediaLimitError(
                self._media_id, f"media that lasts {time_s:,.1f} s", f"at most {self._max_media_s:,.1f} s"
            )

    def _passed(self, modality: str, time_s: float, what: str, windows: FeedWindows) -> None:
        """Remember that `modality` has come so far; wake the taker where that closed a window."""
        if time_s >= self._after.get(modality, (0.0, ""))[0]:
            self._after[modality] = (time_s, what)
        if windows.ready:
            self._news.set()
