"""Pictures that stand: slides, screens and a still over sound have fewer packets than windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from resonance.clients.media.picture import pack_frames
from resonance.clients.media.types import Clip, Frames, Packet, SampledBy
from resonance.clients.media.video import VideoWindow
from resonance.clients.media.windows import Windows

#: A picture that would stand longer has a broken time, its own or that of the next one.
MOST_STANDING_S = 3600.0


@dataclass(slots=True)
class _Seen:
    """The packets of one window. `last_s`: when the last one is shown; `end_s`: where the last one ends,
    infinite where one does not tell how long it is."""

    count: int = 0
    last_s: float = -math.inf
    end_s: float = -math.inf


@dataclass(frozen=True, slots=True)
class _Shown:
    """The last window with a picture; `last_s`: when its last packet is shown."""

    index: int
    window: VideoWindow
    last_s: float


class StandingPictures:
    """Gives windows without packets the last picture before them, as long as it stands; marked as borrowed.

    It stands until its packet ends. Where no duration is told, and of a stream with fewer pictures than
    windows, where durations are but steps of its clock, it stands until the next one or the title's end.

    Args:
        gapless: the container's clock knows no gaps, so that a picture always stands until the next one.
        title_end_s: as the container says; where it does not, the last picture stands as far as sound comes.
        heard: there is sound beside the pictures.
    """

    def __init__(
        self, length_s: float, title_end_s: float | None, *, gapless: bool, heard: bool = False
    ) -> None:
        self._windows, self._gapless, self._heard = Windows(length_s), gapless, heard
        self._title_end_s = math.inf if title_end_s is None else title_end_s
        self._seen: dict[int, _Seen] = {}  # of windows that were not handed out
        self._first: int | None = None
        self._pictures = 0

    def saw(self, time_s: float, duration_s: float | None) -> None:
        """A packet, before its window is handed out."""
        seen = self._seen.setdefault(self._windows.index(time_s), _Seen())
        seen.count += 1
        seen.last_s = max(seen.last_s, time_s)
        seen.end_s = max(seen.end_s, math.inf if duration_s is None else time_s + duration_s)

    def filled(
        self,
        windows: Callable[[], Iterator[tuple[int, VideoWindow]]],
        decode: Callable[[int, float], Frames | None],
    ) -> Iterator[tuple[int, VideoWindow]]:
        """What `windows` gives, with the windows between and after them in which a picture stands.

        `decode`: a window's frames decoded in order, given its index and a keyframe's time in it; asked where
        the last picture that was chosen is not the last there is.
        """
        shown: _Shown | None = None
        previous, stands_to_s = -1, -math.inf
        for index, window in windows():
            if shown is not None:
                until_s = self._title_end_s if self._gapless else stands_to_s
                until_s = min(until_s, self._windows.start_s(index))
                yield from self._stood(shown, previous + 1, until_s, decode)
            seen = self._taken(index)
            previous, stands_to_s = index, self._stands_to_s(index, seen)
            if window.video is not None:
                shown = _Shown(index, window, seen.last_s)
            end_s = self._windows.end_s(index)
            yield index, replace(window, end_s=end_s) if end_s <= stands_to_s < math.inf else window
        if shown is not None and (stands_to_s < math.inf or self._heard):
            for index, window in self._stood(shown, previous + 1, stands_to_s, decode):
                yield index, replace(window, stands_on=stands_to_s == math.inf)

    def _taken(self, index: int) -> _Seen:
        for early in [i for i in self._seen if i < index]:  # packets that came too late for their window
            del self._seen[early]
        return self._seen.pop(index)

    def _stands_to_s(self, index: int, seen: _Seen) -> float:
        """Until when its last picture stands, if none follows; infinite where that is not known."""
        self._first = index if self._first is None else self._first
        self._pictures += seen.count
        stills = self._pictures <= index - self._first + 1
        return self._title_end_s if stills else min(seen.end_s, self._title_end_s)

    def _stood(
        self, shown: _Shown, first: int, end_s: float, decode: Callable[[int, float], Frames | None]
    ) -> Iterator[tuple[int, VideoWindow]]:
        """Windows from `first` on that begin before `end_s`."""
        end_s = min(end_s, self._windows.start_s(first) + MOST_STANDING_S)
        if self._windows.start_s(first) >= end_s:
            return
        window = self._with_last(shown, decode)
        index = first
        while (start_s := self._windows.start_s(index)) < end_s:
            yield index, _later(window, start_s, min(self._windows.end_s(index), end_s))
            index += 1

    def _with_last(self, shown: _Shown, decode: Callable[[int, float], Frames | None]) -> VideoWindow:
        """The window, with its last picture even where that is no keyframe."""
        window = shown.window
        if not isinstance(window.video, Clip) or window.frame_times_s[-1] >= shown.last_s:
            return window
        frames = decode(shown.index, window.frame_times_s[-1])
        if frames is None:
            return window
        start_s = self._windows.start_s(shown.index)
        times_s = tuple(float(start_s + time_s) for time_s in frames.times_s[frames.mask])
        return replace(window, video=frames, frame_times_s=times_s)


def _later(shown: VideoWindow, start_s: float, end_s: float) -> VideoWindow:
    """The window from `start_s` to `end_s` in which the last picture of `shown` stands."""
    time_s = shown.frame_times_s[-1]
    video: Clip | Frames
    if isinstance(shown.video, Clip):
        video = replace(shown.video, packets=(Packet(time_s - start_s, shown.video.packets[-1].data),))
    else:
        assert shown.video is not None
        pixels, bucket = shown.video.pixels[shown.video.mask], len(shown.video.mask)
        video = pack_frames([pixels[-1]], [time_s - start_s], bucket)
    return VideoWindow(video, SampledBy.BORROWED, (time_s,), None, None, end_s)
