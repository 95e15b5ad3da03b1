"""The windows of a feed: what is known of each, when it is complete, and what it is as a segment."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field, replace

from resonance.clients.errors import InvalidFieldError, MediaLimitError
from resonance.clients.media.feed_clocks import BEHIND_S, WORDS_WAIT_S, FeedClocks
from resonance.clients.media.feed_pictures import FeedPictures
from resonance.clients.media.feed_sound import FeedSound
from resonance.clients.media.feed_values import SAME_TIME_S
from resonance.clients.media.joined import join_window
from resonance.clients.media.sound import SoundWindow
from resonance.clients.media.types import ByteArray, FloatArray, ReadTimes, SegmentInput
from resonance.clients.media.video import VideoWindow
from resonance.clients.media.windows import Windows
from resonance.clients.media.words import Cue, WordsWindow, words_by_window
from resonance.space.descriptor import Descriptor

#: Characters of words that may wait for their windows to be complete, each cue counted as 64 more.
MAX_WORDS_HELD = 1 << 20
_CUE_CHARACTERS = 64


@dataclass(slots=True)
class _Window:
    """A window's content so far. `words_held`: characters of the cues whose last window this is."""

    seen: VideoWindow | None = None
    heard: SoundWindow | None = None
    cues: list[Cue] = field(default_factory=list)
    words_held: int = 0


class FeedWindows:
    """Content in rising time a modality in, segments in order out; see `FeedReader` for when a window closes.

    Args:
        name: what to call the feed in errors.
        live: what comes after its window was closed is dropped and counted; else it is refused.
        times: the time spent is added to it, and what was dropped.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        name: str,
        modalities: Set[str],
        first_index: int,
        live: bool,
        times: ReadTimes,
    ) -> None:
        self._name, self._first_index, self._live, self._times = name, first_index, live, times
        self._min_tail_s = descriptor.segment.min_tail_s
        self._windows = Windows(descriptor.segment.length_s)
        self._clocks = FeedClocks(modalities, self._windows.start_s(first_index))
        self._pictures = FeedPictures(descriptor)
        self._sound = FeedSound(descriptor.sound, first_index)
        self._marked_s = 0.0  # of the pictures
        self._open: dict[int, _Window] = {}
        self._closed = first_index  # windows before this one are
        self._last_shown = -1  # the last window that pictures, sound or their marks reach into
        self._words_held = 0
        self._ready: deque[tuple[int, _Window]] = deque()
        self._finished = False
        self.given = 0

    @property
    def ready(self) -> int:
        """Closed windows that wait to be taken."""
        return len(self._ready)

    def take(self) -> SegmentInput | None:
        """The next closed window with content; None while there is none. Counted in `given`."""
        while self._ready:
            index, window = self._ready.popleft()
            self._words_held -= window.words_held
            segment = self._joined(index, window)
            if segment is not None and not self._is_short_tail(segment):
                self.given += 1
                return segment
        return None

    def put_frame(self, time_s: float, rgb: ByteArray) -> None:
        """A frame uint8 [H, W, 3], kept until the next one.

        Raises:
            InvalidFieldError: its window was closed, and the feed is not live.
        """
        time_s = self._windows.settled_s(time_s)
        index = self._windows.index(time_s)
        if self._first_index <= index < self._closed:
            self._met_late("frame.time_s", time_s)
            self._times.late_frames += 1
        self._last_shown = max(self._last_shown, index)
        if index >= self._closed:
            started = time.perf_counter()
            self._saw(self._pictures.put(time_s, rgb))
            self._times.decode_s += time.perf_counter() - started
        self._reach("visual", time_s)

    def put_sound(self, time_s: float, samples: FloatArray, sample_rate_hz: int) -> None:
        """Samples float32 [n, channels].

        Raises:
            InvalidFieldError: a window of theirs was closed without them, and the feed is not live.
        """
        started = time.perf_counter()
        end_s = time_s + samples.shape[0] / sample_rate_hz
        unheard_s = max(time_s, self._sound.reached_s)
        if unheard_s + SAME_TIME_S < min(end_s, self._windows.start_s(self._closed)):
            self._met_late("sound.time_s", time_s)
        self._heard(self._sound.put(time_s, samples, sample_rate_hz))
        self._times.decode_s += time.perf_counter() - started
        self._show_until(end_s)
        self._reach("audio", self._sound.reached_s, end_s)

    def put_cue(self, cue: Cue) -> None:
        """Words, kept in every window where they count by the rules for subtitles of files.

        Raises:
            InvalidFieldError: one of them was closed, and the feed is not live.
            MediaLimitError: more than `MAX_WORDS_HELD` wait.
        """
        cue = replace(cue, start_s=self._windows.settled_s(cue.start_s))
        indices = [index for index, _ in words_by_window([cue], self._windows.length_s)]
        if indices and max(indices[0], self._first_index) < min(indices[-1] + 1, self._closed):
            self._met_late("cue.start_s", cue.start_s)
            self._times.late_cues += 1
        if indices and indices[-1] >= self._closed:
            size = len(cue.text) + _CUE_CHARACTERS
            if self._words_held + size > MAX_WORDS_HELD:
                raise MediaLimitError(
                    self._name,
                    f"{self._words_held + size:,} characters of words whose windows are not complete",
                    f"at most {MAX_WORDS_HELD:,}; send cues as they happen",
                )
            self._words_held += size
            for index in indices:
                if index >= self._closed:
                    self._at(index).cues.append(cue)
            self._at(indices[-1]).words_held += size
        self._reach("transcript", cue.start_s)

    def mark(self, modality: str, time_s: float) -> None:
        """Nothing of `modality` that starts before `time_s` follows."""
        if modality == "transcript":
            self._reach(modality, time_s)
            return
        self._show_until(time_s)
        if modality == "visual":
            self._marked_s = max(self._marked_s, time_s)
            self._reach(modality, time_s)
        else:
            self._heard(self._sound.reach(time_s))
            self._reach(modality, self._sound.reached_s, time_s)

    def finish(self) -> None:
        """Nothing follows: all windows close."""
        self._saw(self._pictures.finish(self._marked_s))
        self._heard(self._sound.finish())
        if self._last_shown >= 0:  # cues after the end of what they belong to are no part of the title
            for index in [i for i in self._open if i > self._last_shown]:
                del self._open[index]
        self._finished = True
        self._close_before(max(self._open, default=self._closed) + 1)

    def _met_late(self, field: str, time_s: float) -> None:
        """What does not happen now could come in another order, and is refused."""
        if not self._live:
            raise InvalidFieldError(
                field,
                f"{time_s:,.3f} s, in a window that was complete without it",
                f"what is after {self._windows.start_s(self._closed):,.0f} s: interleave media, sound and "
                f"pictures at most {BEHIND_S:g} s behind each other, words at most {WORDS_WAIT_S:g} s",
            )

    def _reach(self, modality: str, time_s: float, came_s: float | None = None) -> None:
        self._clocks.reach(modality, time_s, came_s)
        complete = self._windows.index(self._clocks.complete_s())
        if complete > self._closed:
            self._close_before(complete)

    def _close_before(self, index: int) -> None:
        self._saw(self._pictures.close_before(index))
        self._heard(self._sound.close_before(index))
        self._closed = index
        for number in sorted(i for i in self._open if i < index):
            self._ready.append((number, self._open.pop(number)))

    def _at(self, index: int) -> _Window:
        return self._open.setdefault(index, _Window())

    def _saw(self, done: tuple[int, VideoWindow] | None) -> None:
        if done is not None:
            self._at(done[0]).seen = done[1]

    def _heard(self, done: list[tuple[int, SoundWindow]]) -> None:
        self._times.late_sound_s = self._sound.late_s
        for index, window in done:
            self._at(index).heard = window

    def _show_until(self, time_s: float) -> None:
        if time_s > SAME_TIME_S:
            self._last_shown = max(self._last_shown, self._windows.index(time_s - SAME_TIME_S))

    def _joined(self, index: int, window: _Window) -> SegmentInput | None:
        return join_window(self._windows, index, window.seen, window.heard, self._said(index, window.cues))

    def _said(self, index: int, cues: list[Cue]) -> WordsWindow | None:
        return next((w for i, w in words_by_window(cues, self._windows.length_s) if i == index), None)

    def _is_short_tail(self, segment: SegmentInput) -> bool:
        """The last window, under `min_tail_s`, and not the only one."""
        assert segment.start_s is not None
        assert segment.end_s is not None
        last = self._finished and not self._ready
        short = segment.end_s - segment.start_s < self._min_tail_s
        return last and short and (self.given > 0 or self._first_index > 0)
