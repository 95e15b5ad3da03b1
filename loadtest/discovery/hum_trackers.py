"""Pitch trackers of librosa for one voice, measured beside `resonance.clients.discovery.pitch`."""

from __future__ import annotations

import librosa
import numpy as np

from resonance.clients.discovery.pitch import HIGHEST_HZ, LOWEST_HZ, SAMPLE_RATE_HZ, STEP_SAMPLES
from resonance.clients.media.types import FloatArray

#: Windows of 64 ms every 25 ms, four a step of a contour.
_FRAME_SAMPLES, _HOP_SAMPLES = 1024, 400
_HOPS_A_STEP = STEP_SAMPLES // _HOP_SAMPLES
#: YIN gives a pitch for everything; what is this far below the loudest frame is taken for none.
_QUIET_SHARE = 0.1


def yin_contour(pcm: FloatArray) -> FloatArray:
    """De Cheveigné and Kawahara 2002, float32 [steps]; frames much below the loudest have no pitch."""
    hz = librosa.yin(
        pcm,
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        sr=SAMPLE_RATE_HZ,
        frame_length=_FRAME_SAMPLES,
        hop_length=_HOP_SAMPLES,
    )
    loudness = librosa.feature.rms(y=pcm, frame_length=_FRAME_SAMPLES, hop_length=_HOP_SAMPLES)[0]
    return _steps(np.where(loudness < _QUIET_SHARE * loudness.max(), np.nan, hz))


def pyin_contour(pcm: FloatArray) -> FloatArray:
    """Mauch and Dixon 2014, float32 [steps]."""
    hz, _, _ = librosa.pyin(
        pcm,
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        sr=SAMPLE_RATE_HZ,
        frame_length=_FRAME_SAMPLES,
        hop_length=_HOP_SAMPLES,
        fill_na=np.nan,
    )
    return _steps(hz)


def _steps(hz: np.ndarray) -> FloatArray:
    """Semitones above A4 of each step: the median of its frames, if half of them have a pitch."""
    count = len(hz) // _HOPS_A_STEP
    frames = 12 * np.log2(hz[: count * _HOPS_A_STEP] / 440.0).reshape(count, _HOPS_A_STEP)
    heard = 2 * np.isfinite(frames).sum(axis=1) >= _HOPS_A_STEP
    steps = np.full(count, np.nan, np.float32)
    steps[heard] = np.nanmedian(frames[heard], axis=1)
    return steps
