"""Sound to its pitch contour: the voice that leads, where other sounds lie under it.

Trackers of one voice (YIN, pYIN) follow whatever is loudest, chords and engines included. Here steady sound
is taken away first, then each pitch gets the sum of what its harmonics stand out by (as in Salamon and Gómez,
Melody Extraction from Polyphonic Music Signals using Pitch Contour Characteristics, 2012), and the likeliest
line through time is followed (Viterbi). docs/hum.md compares the three.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import librosa
import numpy as np
from librosa.sequence import viterbi
from numpy.typing import NDArray

from resonance.clients.media.types import FloatArray

SAMPLE_RATE_HZ = 16_000
#: Time between two pitches of a contour.
HOP_S = 0.1
STEP_SAMPLES = round(HOP_S * SAMPLE_RATE_HZ)
#: A2 to C7: voices, and instruments that lead.
LOWEST_HZ, SEMITONES = 110.0, 51
HIGHEST_HZ = LOWEST_HZ * 2 ** (SEMITONES / 12)
#: Pitches looked at in a semitone.
_BINS_A_SEMITONE = 8
#: Windows of 128 ms every 25 ms, which tell semitones apart from about 250 Hz.
_FRAME_SAMPLES, _FRAMES_A_STEP = 2048, 4
#: Below the noise of 16 bits in a bin: how loud a melody is does not matter.
_FLOOR_DB = -110.0
#: Harmonics summed, and how much each counts of the one before it.
_HARMONICS, _HARMONIC_SHARE = 5, 0.6
#: A partial is what stands out of so many bins around it, 9 x 7.8 Hz.
_AROUND_BINS = 9
#: No pitch is likelier than one that stands out by less than this, dB.
_UNVOICED_DB = 6.0
#: A step to another pitch costs this a semitone, dB, and at most so much; to and from no pitch half of that.
_MOVE_DB, _MOST_MOVE_DB = 1.0, 8.0
#: By what the contours of two versions are told apart.
RECIPE = f"salience 1, {HOP_S:g} s"


def contour(pcm: FloatArray) -> FloatArray:
    """Semitones above A4 (440 Hz) every `HOP_S`, float32 [samples // 1600], NaN where no pitch stands out.

    Args:
        pcm: float32 [samples] at 16 kHz. What sounds all the time in it is taken for background.
    """
    if len(pcm) < STEP_SAMPLES:
        return np.zeros(0, np.float32)
    salience = _salience(pcm)  # (P, steps)
    none = np.full((1, salience.shape[1]), _UNVOICED_DB)
    states = np.concatenate([salience, none])
    likelihood = np.exp(states - states.max(axis=0))
    line = viterbi(likelihood, _transitions())  # (steps,)
    pitches = np.append(_pitches(), np.nan)[line]
    return cast(FloatArray, pitches.astype(np.float32))


def _salience(pcm: FloatArray) -> NDArray[np.float64]:
    """By how much each pitch stands out, dB, [P, steps]."""
    steps = len(pcm) // STEP_SAMPLES
    padded = np.pad(pcm, (0, max(_FRAME_SAMPLES - len(pcm), 0)))
    spectrum = np.abs(librosa.stft(padded, n_fft=_FRAME_SAMPLES, hop_length=STEP_SAMPLES // _FRAMES_A_STEP))
    share = spectrum[:, : steps * _FRAMES_A_STEP] / (_FRAME_SAMPLES / 4)  # a sine of amplitude 1 is 1
    level_db = librosa.amplitude_to_db(share, ref=1.0, amin=10 ** (_FLOOR_DB / 20), top_db=None)
    level_db = level_db.reshape(len(level_db), steps, _FRAMES_A_STEP).mean(axis=2)  # (bins, steps)
    rise_db = np.maximum(level_db - level_db.mean(axis=1, keepdims=True), 0)
    return cast(NDArray[np.float64], _harmonic_sums() @ np.maximum(rise_db - _smoothed(rise_db), 0))


def _smoothed(levels: FloatArray) -> FloatArray:
    """The mean of `_AROUND_BINS` bins around each, [bins, steps]."""
    half = _AROUND_BINS // 2
    sums = np.cumsum(np.pad(levels, ((half + 1, half), (0, 0)), mode="edge"), axis=0)
    return (sums[_AROUND_BINS:] - sums[:-_AROUND_BINS]) / _AROUND_BINS


def _pitches() -> NDArray[np.float64]:
    """Semitones above A4, [P]."""
    lowest = 12 * np.log2(LOWEST_HZ / 440.0)
    return cast(NDArray[np.float64], lowest + np.arange(SEMITONES * _BINS_A_SEMITONE) / _BINS_A_SEMITONE)


@cache
def _harmonic_sums() -> NDArray[np.float64]:
    """What a spectrum is multiplied with, [P, bins]; a partial between two bins is read off both."""
    bins = _FRAME_SAMPLES // 2 + 1
    fundamentals = 440.0 * 2 ** (_pitches() / 12) * _FRAME_SAMPLES / SAMPLE_RATE_HZ  # in bins
    sums = np.zeros((len(fundamentals), bins))
    rows = np.arange(len(fundamentals))
    for harmonic in range(1, _HARMONICS + 1):
        below = np.floor(harmonic * fundamentals).astype(int)
        share = harmonic * fundamentals - below
        heard = below + 1 < bins
        weight = _HARMONIC_SHARE ** (harmonic - 1)
        np.add.at(sums, (rows[heard], below[heard]), weight * (1 - share[heard]))
        np.add.at(sums, (rows[heard], below[heard] + 1), weight * share[heard])
    return sums


@cache
def _transitions() -> NDArray[np.float64]:
    """How likely each pitch, and none (the last), follows each, [P + 1, P + 1]; rows sum to 1."""
    pitches = _pitches()
    moved = np.full((len(pitches) + 1, len(pitches) + 1), _MOST_MOVE_DB / 2)
    moved[:-1, :-1] = np.minimum(_MOVE_DB * np.abs(pitches[:, None] - pitches[None]), _MOST_MOVE_DB)
    moved[-1, -1] = 0.0
    likelihood = np.exp(-moved)
    return cast(NDArray[np.float64], likelihood / likelihood.sum(axis=1, keepdims=True))
