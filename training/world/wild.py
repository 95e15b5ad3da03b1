"""Pictures and sounds of nothing in particular: what keeps the encoders apart on footage unlike the world.

Fields of coloured noise with a natural 1/f spectrum and random shapes; noise of random spectra, envelopes
and tones. Two views of one item belong together and to nothing else.
"""

from __future__ import annotations

import numpy as np

from resonance.training.world.sound import SAMPLE_RATE_HZ, SEGMENT_SAMPLES


def wild_frames(rng: np.random.Generator, *, count: int, size_px: int) -> np.ndarray:
    """`count` views of one random scene as a camera drifts over it, uint8 [count, size_px, size_px, 3]."""
    side = size_px * 3 // 2
    field = _field(rng, side)
    _shapes(field, rng)
    low, high = rng.uniform(0, 0.35), rng.uniform(0.6, 1.0)
    field = np.clip(low + (high - low) * field, 0, 1)
    start, drift = rng.uniform(0, 0.5, 2), rng.uniform(-0.12, 0.12, 2)
    frames = np.empty((count, size_px, size_px, 3), np.uint8)
    for i in range(count):
        y, x = (np.clip(start + drift * i, 0, 0.5) * size_px).astype(int)
        frames[i] = field[y : y + size_px, x : x + size_px] * 255
    return frames


def _field(rng: np.random.Generator, side: int) -> np.ndarray:
    """1/f noise in three correlated colours, float [side, side, 3] about 0..1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1.0 / side
    amplitude = frequency ** -rng.uniform(0.8, 1.6)
    channels = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, (side, side))
        channels.append(plane / plane.std())
    # light varies more than colour does
    mixing = np.array([[0.2, 0.2, 0.2], [0, 0, 0], [0, 0, 0]]) + rng.normal(0, 0.05, (3, 3))
    field = np.stack(channels, axis=-1) @ mixing + rng.uniform(0.3, 0.7, 3)
    return np.clip(field, 0, 1)


def _shapes(field: np.ndarray, rng: np.random.Generator) -> None:
    side = field.shape[0]
    axis = np.arange(side) / side
    for _ in range(int(rng.integers(1, 9))):
        cy, cx, ry, rx = *rng.uniform(0, 1, 2), *rng.uniform(0.03, 0.3, 2)
        dy, dx = (axis[:, None] - cy) / ry, (axis[None] - cx) / rx
        inside = dy * dy + dx * dx < 1 if rng.random() < 0.5 else (np.abs(dy) < 1) & (np.abs(dx) < 1)
        cover = rng.uniform(0.4, 1.0)
        field[inside] = field[inside] * (1 - cover) + rng.uniform(0, 1, 3) * cover


def wild_sound(rng: np.random.Generator) -> np.ndarray:
    """Noise of random spectrum and envelope with gliding tones, float32 [128000], peak below 1."""
    spectrum = np.fft.rfft(rng.standard_normal(SEGMENT_SAMPLES).astype(np.float32))
    points = np.sort(rng.uniform(0, 1, 6))
    bins = np.linspace(0, 1, spectrum.size) ** 0.4  # nearer to how pitch is heard
    mix = np.fft.irfft(spectrum * 10 ** (np.interp(bins, points, rng.uniform(-2, 0, 6))))
    mix = mix / mix.std() * _envelope(rng)
    t = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE_HZ
    for _ in range(int(rng.integers(0, 4))):
        start_hz, end_hz = 80 * 2 ** rng.uniform(0, 6, 2)
        phase = 2 * np.pi * (start_hz * t + (end_hz - start_hz) * t * t / (2 * t[-1]))
        harmonics = sum(np.sin(k * phase) * rng.uniform(0, 1) / k for k in range(1, 5))
        mix = mix + rng.uniform(0.3, 1.5) * harmonics * _envelope(rng)
    level = 10 ** (rng.uniform(-14, 0) / 20) * 0.8
    return (mix * (level / max(float(np.abs(mix).max()), 1e-9))).astype(np.float32)


def _envelope(rng: np.random.Generator) -> np.ndarray:
    """Steady, pulsing or a few bursts; [128000], 0..1."""
    t = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE_HZ
    kind = int(rng.integers(3))
    if kind == 0:
        return np.interp(t, np.linspace(0, 8, 9), rng.uniform(0.4, 1, 9))
    if kind == 1:
        return (
            0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.3, 9) * t + rng.uniform(0, 6.28))
        ) ** rng.uniform(0.5, 6)
    bursts = np.full(t.size, 0.02)
    for _ in range(int(rng.integers(1, 8))):
        since = t - rng.uniform(0, 8)
        bursts += np.where(since > 0, np.exp(-np.maximum(since, 0) * rng.uniform(2, 30)), 0)
    return np.clip(bursts, 0, 1)
