"""The sound of clips: any rate and layout to stereo, placed by presentation time, faded at its ends."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

#: Float32 [2, n], left and right; full scale is 1.
Stereo = NDArray[np.float32]

#: Of a reel.
SOUND_RATE_HZ = 48_000
#: A frame this far from where the sound so far ends is put where its own time says. It is less than a picture
#: lasts, so that lips fit, and more than containers round times by, so that nothing clicks.
APART_S = 0.03
#: Length of a fade in and of one out: long enough for no click, too short to be heard as a fade.
FADE_S = 0.015


class SoundPlacer:
    """Lays decoded frames into a stretch of stereo sound.

    Frames follow one another without a gap unless one's own time says otherwise by over `APART_S`.

    Args:
        rate_hz: of the result. start_s: where it begins. samples: how many it has.
    """

    def __init__(self, rate_hz: int, start_s: float, samples: int) -> None:
        self._rate_hz, self._start_s = rate_hz, start_s
        self._sound: Stereo = np.zeros((2, samples), np.float32)
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._position: int | None = None  # of the next sample out of the resampler
        self._end = 0.0  # of the sound put into it
        self._heard = False

    def put(self, frame: av.AudioFrame, time_s: float | None) -> None:
        """Add a frame; one that cannot be converted leaves a gap, and so do those before the first time."""
        placed = None if time_s is None else (time_s - self._start_s) * self._rate_hz
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        jumped = placed is not None and abs(placed - self._end) > APART_S * self._rate_hz
        if self._position is None or jumped or kind != self._kind:
            if placed is None and self._position is None:
                return
            self._flush()
            self._position = round(self._end if placed is None else placed)
            self._end = float(self._position)
            self._kind = kind
            # One channel is laid into both as it is; FFmpeg would make it 3 dB quieter. Of more than two the
            # weights sum to at most 1, or 5.1 mixed to two would be far above full scale.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(
                "fltp", layout, self._rate_hz, options={"rematrix_maxval": "1.0"}
            )
        assert self._resampler is not None
        self._end += frame.samples * self._rate_hz / frame.sample_rate if frame.sample_rate else 0.0
        frame.pts = None  # placed here; no silence is to be put in
        try:
            self._lay(self._resampler.resample(frame))
        except (av.error.FFmpegError, ValueError):
            self._resampler, self._kind = None, None

    def finish(self) -> Stereo | None:
        """The stretch, float32 [2, samples] in -1..1; None where nothing of it is there."""
        self._flush()
        if not self._heard:
            return None
        # float tracks may hold anything
        np.nan_to_num(self._sound, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        return np.clip(self._sound, -1.0, 1.0)

    def _flush(self) -> None:
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            try:
                self._lay(resampler.resample(None))
            except (av.error.FFmpegError, ValueError):
                return

    def _lay(self, frames: list[av.AudioFrame]) -> None:
        assert self._position is not None
        for frame in frames:
            block = frame.to_ndarray()  # (2, n), or (1, n) for both
            first, self._position = self._position, self._position + block.shape[1]
            low, high = max(first, 0), min(self._position, self._sound.shape[1])
            if low < high:
                self._sound[:, low:high] = block[:, low - first : high - first]
                self._heard = True


def faded(sound: Stereo, rate_hz: int) -> Stereo:
    """`sound` [2, n] with a raised cosine of `FADE_S` at both ends; shorter where n is."""
    length = min(round(FADE_S * rate_hz), sound.shape[1] // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(length, 1))).astype(np.float32)
    result = sound.copy()
    result[:, :length] *= ramp
    result[:, sound.shape[1] - length :] *= ramp[::-1]
    return result
