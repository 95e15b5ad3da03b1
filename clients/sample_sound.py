"""The sound of the sample film: a pad of chords, the sea, and drums that grow into the storm and stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SOUND_RATE_HZ = 44_100
FloatArray = NDArray[np.float32]

#: A scene each: notes of the pad in Hz; the pad's, the sea's and the drums' level (0 is silence, 1 is full);
#: beats a second at its start and end.
CHORDS = (
    (220.0, 277.2, 329.6),  # A major
    (220.0, 261.6, 329.6),  # A minor
    (110.0, 116.5, 155.6, 164.8),  # as near to each other as it hurts
    (),
    (146.8, 220.0, 293.7, 370.0, 587.3),  # D major, wide
)
PAD = (0.10, 0.12, 0.22, 0.0, 0.20)
SEA = (0.010, 0.03, 0.12, 0.0, 0.02)
DRUMS = (0.0, 0.12, 0.55, 0.0, 0.25)
BEATS_PER_S = ((0.5, 0.5), (1.0, 2.0), (3.0, 8.0), (0.0, 0.0), (2.0, 2.0))
#: Levels glide from scene to scene over this time, but the silence falls at once.
GLIDE_S = 0.5
BURST_S = 0.25
PEAK = 0.55


def render_sound(duration_s: float, shares: Sequence[float]) -> FloatArray:
    """Stereo float32 [2, samples] for scenes that take `shares` of `duration_s` seconds."""
    samples = round(duration_s * SOUND_RATE_HZ)
    ends = np.rint(np.cumsum(shares) * samples).astype(int)
    starts = np.array([0, *ends[:-1]])
    rng = np.random.default_rng(596)
    pad = np.zeros((2, samples), np.float32)
    for start, end, notes in zip(starts, ends, CHORDS, strict=True):
        pad[:, start:end] = _chord(notes, end - start)
    mixed = pad * _levels(PAD, starts, samples) + _sea(rng, samples) * _levels(SEA, starts, samples)
    for scene, (start, end) in enumerate(zip(starts, ends, strict=True)):
        _drum(mixed[:, start:end], BEATS_PER_S[scene], DRUMS[scene], rng)
    silent = PAD.index(0.0)
    mixed[:, starts[silent] : ends[silent]] = 0
    # no peak above this: AAC puts up to half on top of a burst of noise
    return np.asarray(PEAK * np.tanh(mixed / PEAK), dtype=np.float32)


def _levels(levels: Sequence[float], starts: NDArray[np.int_], samples: int) -> FloatArray:
    """Each scene's level for every sample, [samples], gliding at the borders."""
    times = np.arange(samples)
    glide = round(GLIDE_S * SOUND_RATE_HZ)
    points = [(0, levels[0])]
    for scene in range(1, len(levels)):
        points += [(starts[scene], levels[scene - 1]), (starts[scene] + glide, levels[scene])]
    at, values = zip(*points, strict=True)
    return np.interp(times, at, values).astype(np.float32)


def _chord(notes: Sequence[float], samples: int) -> FloatArray:
    """Soft tones that beat slowly, the channels a little apart; [2, samples]."""
    t = np.arange(samples, dtype=np.float32) / SOUND_RATE_HZ
    swell = np.minimum(t / GLIDE_S, 1)  # a chord does not click in
    channels = []
    for detune in (0.999, 1.001):
        tones = [np.sin(2 * np.pi * note * detune * t) + 0.3 * np.sin(4 * np.pi * note * t) for note in notes]
        channels.append(np.sum(tones, axis=0) / len(notes) if notes else np.zeros_like(t))
    return np.asarray(np.stack(channels) * swell, dtype=np.float32)


def _sea(rng: np.random.Generator, samples: int) -> FloatArray:
    """Noise without its highest part that swells every few seconds, [2, samples]."""
    noise = rng.standard_normal((2, samples + 7), dtype=np.float32)
    soft = np.asarray(sum(noise[:, i : samples + i] for i in range(8)), dtype=np.float32) / 3
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.23 * np.arange(samples, dtype=np.float32) / SOUND_RATE_HZ)
    return np.asarray(soft * swell, dtype=np.float32)


def _drum(out: FloatArray, beats_per_s: tuple[float, float], level: float, rng: np.random.Generator) -> None:
    """Add bursts to a scene, [2, samples], their rate growing from its start to its end."""
    first, last = beats_per_s
    length_s = out.shape[1] / SOUND_RATE_HZ
    t = np.arange(round(BURST_S * SOUND_RATE_HZ), dtype=np.float32) / SOUND_RATE_HZ
    thump = np.sin(2 * np.pi * 70 * t) * np.exp(-18 * t)
    at_s = 0.0
    while level and at_s < length_s:
        hiss = rng.standard_normal(t.size, dtype=np.float32) * np.exp(-45 * t)
        burst = level * (0.8 * thump + 0.5 * hiss).astype(np.float32)
        at = round(at_s * SOUND_RATE_HZ)
        room = out[:, at : at + t.size]
        room += burst[: room.shape[1]]
        at_s += 1 / (first + (last - first) * at_s / length_s)
