"""Pictures and sounds of nothing in particular: what keeps the encoders apart on footage unlike the world.

A place is a field of coloured noise with a natural 1/f spectrum, and a noise of some spectrum; things are
random shapes in it, and an envelope with gliding tones; a moment is where the camera looks, how long the
microphone is open and what noise both add. Moments of one thing belong together; other things in the same
place are what they are most easily mistaken for.
"""

from __future__ import annotations

import numpy as np

from resonance.training.world.sound import SAMPLE_RATE_HZ, SEGMENT_SAMPLES

#: Rows of a pool that show one thing; things that share a place.
MOMENTS, THINGS = 2, 2
#: A moment begins up to this long after the thing does.
LATEST_START_S = 4.0
#: Half of all moments are shorter than a segment, down to this.
SHORTEST_S = 1.5
#: Seconds of sound that a thing has.
SPAN_S = SEGMENT_SAMPLES / SAMPLE_RATE_HZ + LATEST_START_S
#: Deviation of a sensor's noise at most, as a share of full light.
MOST_NOISE = 0.025


def generators(seed: int, item: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """What place, thing and moment of wild item `item` draw from; items of one thing stand side by side."""
    numbers = (item // (MOMENTS * THINGS), item // MOMENTS, item)
    place, thing, moment = (
        np.random.Generator(np.random.PCG64([seed, 3 + kind, number])) for kind, number in enumerate(numbers)
    )
    return place, thing, moment


def wild_frames(
    place: np.random.Generator,
    thing: np.random.Generator,
    moment: np.random.Generator,
    *,
    count: int,
    size_px: int,
) -> np.ndarray:
    """`count` frames as a camera drifts over a scene, uint8 [count, size_px, size_px, 3]."""
    side = size_px * 3 // 2
    field = _field(place, side)
    # a third of all places are darker than the world ever is
    high = (
        place.uniform(0.6, 1.0) if place.random() < 0.67 else np.exp(place.uniform(np.log(0.08), np.log(0.6)))
    )
    low = place.uniform(0, 0.35) * high
    _shapes(field, thing)
    field = np.clip(low + (high - low) * field, 0, 1)
    start, drift = moment.uniform(0, 0.5, 2), moment.uniform(-0.12, 0.12, 2)
    noise = moment.uniform(0, MOST_NOISE)
    frames = np.empty((count, size_px, size_px, 3), np.uint8)
    for i in range(count):
        y, x = (np.clip(start + drift * i, 0, 0.5) * size_px).astype(int)
        seen = field[y : y + size_px, x : x + size_px]
        seen = seen + noise * moment.standard_normal(seen.shape, np.float32)
        frames[i] = np.clip(seen, 0, 1) * 255
    return frames


def _field(rng: np.random.Generator, side: int) -> np.ndarray:
    """1/f noise in three correlated colours, float [side, side, 3] about 0..1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1.0 / side
    amplitude = frequency ** -rng.uniform(0.9, 1.9)
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
    """Ellipses and boxes over `field` [side, side, 3], in place; half of them are striped."""
    side = field.shape[0]
    axis = np.arange(side) / side
    y, x = axis[:, None], axis[None]
    for _ in range(int(rng.integers(2, 9))):
        cy, cx, ry, rx = *rng.uniform(0.15, 0.85, 2), *rng.uniform(0.04, 0.25, 2)
        dy, dx = (y - cy) / ry, (x - cx) / rx
        inside = dy * dy + dx * dx < 1 if rng.random() < 0.5 else (np.abs(dy) < 1) & (np.abs(dx) < 1)
        cover = rng.uniform(0.4, 1.0)
        stripes = np.sin(rng.uniform(-90, 90) * x + rng.uniform(-90, 90) * y)
        colour = rng.uniform(0, 1, 3) + (rng.random() < 0.5) * 0.25 * stripes[inside, None]
        field[inside] = field[inside] * (1 - cover) + np.clip(colour, 0, 1) * cover


def wild_sound(
    place: np.random.Generator, thing: np.random.Generator, moment: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Noise of the place under the envelope and tones of the thing: float32 [128000], peak below 1, and how
    many samples of it there are; silence after them."""
    t = moment.uniform(0, LATEST_START_S) + np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(moment.standard_normal(SEGMENT_SAMPLES).astype(np.float32))
    points = np.sort(place.uniform(0, 1, 6))
    bins = np.linspace(0, 1, spectrum.size) ** 0.4  # nearer to how pitch is heard
    mix = np.fft.irfft(spectrum * 10 ** (np.interp(bins, points, place.uniform(-2, 0, 6))))
    mix = mix / mix.std() * _envelope(t, thing)
    for _ in range(int(thing.integers(0, 4))):
        start_hz, end_hz = 80 * 2 ** thing.uniform(0, 6, 2)
        phase = 2 * np.pi * (start_hz * t + (end_hz - start_hz) * t * t / (2 * SPAN_S))
        harmonics = sum(np.sin(k * phase) * thing.uniform(0, 1) / k for k in range(1, 5))
        mix = mix + thing.uniform(0.3, 1.5) * harmonics * _envelope(t, thing)
    level = 10 ** (place.uniform(-14, 0) / 20) * 0.8
    length = SEGMENT_SAMPLES
    if moment.random() < 0.5:
        length = int(moment.uniform(SHORTEST_S * SAMPLE_RATE_HZ, SEGMENT_SAMPLES))
    mix[length:] = 0.0
    return (mix * (level / max(float(np.abs(mix).max()), 1e-9))).astype(np.float32), length


def _envelope(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Steady, pulsing or a few bursts, 0..1 at times `t` in 0..SPAN_S."""
    kind = int(rng.integers(3))
    if kind == 0:
        return np.interp(t, np.linspace(0, SPAN_S, 13), rng.uniform(0.4, 1, 13))
    if kind == 1:
        rate_hz, phase, sharpness = rng.uniform(0.3, 9), rng.uniform(0, 6.28), rng.uniform(0.5, 6)
        return (0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * t + phase)) ** sharpness
    bursts = np.full(t.size, 0.02)
    for _ in range(int(rng.integers(2, 12))):
        since, decay = t - rng.uniform(0, SPAN_S), rng.uniform(2, 30)
        bursts += np.where(since > 0, np.exp(-np.maximum(since, 0) * decay), 0)
    return np.clip(bursts, 0, 1)
