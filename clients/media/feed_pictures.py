"""The pictures of a feed: of the frames that pass, those nearest to the centres of each window's parts."""

from __future__ import annotations

from av import VideoFrame
from av.video.reformatter import VideoReformatter

from resonance.clients.errors import InvalidFieldError
from resonance.clients.media.clip import frame_times_s
from resonance.clients.media.picture import frame_to_rgb, pack_frames
from resonance.clients.media.types import ByteArray, SampledBy
from resonance.clients.media.video import VideoWindow
from resonance.clients.media.windows import Windows
from resonance.space.descriptor import Descriptor


class FeedPictures:
    """Chooses frames as `StretchDecoder` does: for each centre the nearest of its window, each frame once.

    Holds the last frame as it came, since only the next one tells whether it is chosen, and the chosen ones
    of one window scaled: `sampling.uniform_frames` at most. A frame is scaled when it is chosen, else never.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._geometry = descriptor.frames
        self._windows = Windows(descriptor.segment.length_s)
        self._parts = descriptor.sampling.uniform_frames
        self._reformatter = VideoReformatter()
        self._index = -1
        self._targets_s: tuple[float, ...] = ()
        self._settled = 0  # targets before this one have their frame
        self._chosen: dict[float, ByteArray] = {}
        self._last: tuple[float, ByteArray] | None = None
        self._previous_s: float | None = None
        self._interval_s = 0.0  # between the last two frames, of whatever window

    def put(self, time_s: float, rgb: ByteArray) -> tuple[int, VideoWindow] | None:
        """Add a frame uint8 [H, W, 3], in rising time; gives the window before, if it is complete now.

        `rgb` is kept until the next frame comes.
        """
        index = self._windows.index(time_s)
        done = self.close_before(index)
        if self._previous_s is not None:
            self._interval_s = time_s - self._previous_s
        self._previous_s = time_s
        if index != self._index:
            self._index = index
            self._targets_s = self._windows.centres_s(index, self._parts)
            self._settled = 0
        frame = (time_s, rgb)
        # a target at or before this frame is nearest to this frame or to the one before it
        while self._settled < len(self._targets_s) and self._targets_s[self._settled] <= time_s:
            target_s = self._targets_s[self._settled]
            before = self._last
            nearer = before if before is not None and target_s - before[0] <= time_s - target_s else frame
            self._choose(nearer)
            self._settled += 1
        self._last = frame
        return done

    def close_before(self, index: int, until_s: float | None = None) -> tuple[int, VideoWindow] | None:
        """The window under way, if it is one before `index`.

        `until_s`: where the last picture ends, if nothing follows; by default the window's end.
        """
        if self._last is None or not 0 <= self._index < index:
            return None
        if self._settled < len(self._targets_s):
            self._choose(self._last)
        start_s, end_s = self._windows.start_s(self._index), self._windows.end_s(self._index)
        frames = pack_frames(
            list(self._chosen.values()), [time_s - start_s for time_s in self._chosen], self._parts
        )
        window = VideoWindow(
            frames,
            SampledBy.UNIFORM,
            frame_times_s(frames, start_s),
            None,  # cuts and motion are told by the differences of the frames
            None,
            end_s if until_s is None else min(until_s, end_s),
        )
        done = (self._index, window)
        self._index, self._last, self._chosen = -1, None, {}
        return done

    def finish(self, reached_s: float) -> tuple[int, VideoWindow] | None:
        """The last window. A picture stands as long as the one before it did, and until `reached_s`."""
        if self._last is None:
            return None
        return self.close_before(self._index + 1, max(self._last[0] + self._interval_s, reached_s))

    def _choose(self, frame: tuple[float, ByteArray]) -> None:
        time_s, rgb = frame
        if time_s not in self._chosen:
            try:
                picture = VideoFrame.from_ndarray(rgb, format="rgb24")
                self._chosen[time_s] = frame_to_rgb(picture, self._geometry, 0, self._reformatter)
            except ValueError as error:  # FFmpeg's, too
                size = f"{rgb.shape[1]} x {rgb.shape[0]}"
                raise InvalidFieldError("frame", size, "a picture that is less thin") from error
