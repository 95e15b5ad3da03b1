"""The sound of a feed: stretches of any rate and channel count to windows of mono PCM, as from a file."""

from __future__ import annotations

import av
import numpy as np

from resonance.clients.media.sound import REANCHOR_S, Filler, Resampler, SoundWindow
from resonance.clients.media.types import FloatArray
from resonance.space.descriptor import Sound

#: Sound is taken out of the resampler by so much at a time: so late a window may close.
BLOCK_S = 0.1


class FeedSound:
    """One resampler for the whole feed; it starts anew only after a gap or an overlap.

    Stretches are trusted to be where their times say: a time that ran ahead by mistake and back again is
    refused before it comes here, so that no look at the next one is needed, as it is in files.

    Args:
        first_index: samples of windows before this one are dropped.
    """

    def __init__(self, sound: Sound, first_index: int) -> None:
        self._rate_hz, self._window_samples = sound.sample_rate_hz, sound.window_samples
        self._resampler = Resampler(
            sound.sample_rate_hz, frames_together=1, block_samples=round(BLOCK_S * sound.sample_rate_hz)
        )
        self._filler = Filler(sound)
        self._position: int | None = None  # of the next sample out of the resampler
        self._end = 0.0  # of the sound put into it
        self._floor = self._reached = first_index * sound.window_samples  # before the floor all is dropped
        self._late_samples = 0  # not those of an overlap, which were heard before

    @property
    def reached_s(self) -> float:
        """Up to when the windows are filled."""
        return self._reached / self._rate_hz

    @property
    def late_s(self) -> float:
        """Seconds of sound that came after their window was complete, and were dropped."""
        return self._late_samples / self._rate_hz

    def put(self, time_s: float, samples: FloatArray, sample_rate_hz: int) -> list[tuple[int, SoundWindow]]:
        """Add samples float32 [n, channels] whose first is heard at `time_s`; gives windows they complete."""
        placed = round(time_s * self._rate_hz)
        done = []
        if self._position is None or abs(placed - self._end) > REANCHOR_S * self._rate_hz:
            done += self._flush()
            self._position, self._end = placed, float(placed)
        self._end += samples.shape[0] * self._rate_hz / sample_rate_hz
        channels = samples.shape[1]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32).reshape(1, -1), format="flt", layout=f"{channels}c"
        )
        frame.sample_rate = sample_rate_hz
        return done + self._placed(self._resampler.put(frame))

    def reach(self, time_s: float) -> list[tuple[int, SoundWindow]]:
        """Nothing that starts before `time_s` follows. What is in the resampler comes out only where that
        says more than the sound so far: else the sound goes on from here without a seam."""
        reached = int(time_s * self._rate_hz)
        done = []
        if self._position is None or reached - self._end > REANCHOR_S * self._rate_hz:
            done += self._flush()
            self._reached = max(self._reached, reached)
        return done

    def close_before(self, index: int) -> list[tuple[int, SoundWindow]]:
        """The window under way if it is one before `index`; samples of such windows are late from now on."""
        floor = index * self._window_samples
        if floor <= self._floor:
            return []
        late = self._position is not None and self._position < floor
        done = self._flush() if late else []  # what waits in the resampler came in time
        self._floor = max(self._floor, floor)
        return [*done, *self._filler.flush(whole=True)]

    def finish(self) -> list[tuple[int, SoundWindow]]:
        """The last windows."""
        return [*self._flush(), *self._filler.flush(whole=False)]

    def _flush(self) -> list[tuple[int, SoundWindow]]:
        done = self._placed(self._resampler.flush()) if self._position is not None else []
        self._position = None
        return done

    def _placed(self, blocks: list[FloatArray]) -> list[tuple[int, SoundWindow]]:
        done: list[tuple[int, SoundWindow]] = []
        assert self._position is not None
        for block in blocks:
            first = self._position
            self._position += block.size
            if first < self._floor:
                dropped = min(self._floor - first, block.size)
                self._late_samples += max(first + dropped - max(first, self._reached), 0)
                block, first = block[dropped:], first + dropped
            if block.size:
                done += self._filler.put(first, block)
                # the filler has handed out all windows before the one of the last sample
                last_index = (first + block.size - 1) // self._window_samples
                self._floor = max(self._floor, last_index * self._window_samples)
            self._reached = max(self._reached, self._position)
        return done
