"""The sound of a segment: ambience, source, harmony, tempo and melody, mixed with private nuisance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from resonance.training.world.factors import MELODY_STEPS, SUBJECT_KINDS, SegmentFactors

SAMPLE_RATE_HZ = 16_000
SEGMENT_SAMPLES = 128_000
#: Centre of the ambience's band and rate of its swell, by setting % 4 and setting // 4.
AMBIENCE_HZ = (220.0, 700.0, 2000.0, 5200.0)
SWELL_HZ = (0.0, 0.6, 2.0, 6.0)
#: Beats a second, by pace.
TEMPO_HZ = (0.5, 1.0, 1.9, 3.4, 6.0)
#: Semitones above the pad's root, by tension: from an open fifth to a cluster.
CHORDS = ((0, 7, 12), (0, 4, 7), (0, 3, 8), (0, 3, 6), (0, 1, 2))
#: Beating of the pad, by tension.
TREMOLO_HZ = (0.0, 0.0, 1.5, 4.0, 9.0)
MAJOR = (0, 2, 4, 5, 7, 9, 11)
#: Weights of the harmonics of the lead's timbres; the first is the pure tone of a hum.
TIMBRES = (
    (1.0,),
    (1.0, 0.5, 0.3, 0.15),
    (1.0, 0.0, 0.45, 0.0, 0.25),
    (0.7, 0.7, 0.5, 0.4, 0.3, 0.2),
    (1.0, 0.25),
)
#: Lead notes stay near this pitch, F5, where a window of 128 ms tells semitones apart.
LEAD_HZ = 698.46


def render_sound(factors: SegmentFactors, rng: np.random.Generator) -> np.ndarray:
    """PCM float32 [128000] at 16 kHz, peak below 1.

    Private nuisance: levels of the parts, noise grain, onset times, pitches of source and pad, key,
    timbre and octave of the lead, tone of the whole, gain.
    """
    gain = {part: 10 ** (rng.uniform(-4.0, 3.0) / 20) for part in ("air", "source", "pad", "beat", "lead")}
    mix = (
        0.10 * gain["air"] * _ambience(factors.setting, rng)
        + 0.20 * gain["source"] * _source(factors.subject, rng)
        + 0.06 * gain["pad"] * _pad(factors.tension, rng)
        + 0.16 * gain["beat"] * _beat(factors.pace, rng)
        + 0.16 * gain["lead"] * melody_line(factors.melody, rng)
    )
    return finish(mix, rng)


def render_hum(melody: tuple[int, ...], rng: np.random.Generator, *, timbre: int = 0) -> np.ndarray:
    """A lone lead, PCM float32 [128000]; timbre 0 is a pure tone."""
    mix = 0.3 * melody_line(melody, rng, timbre=timbre) + 10 ** rng.uniform(-4.2, -2.8) * _noise(rng)
    return finish(mix, rng)


def finish(mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Overall tone, a floor of noise, level."""
    mix = mix + rng.uniform(-0.25, 0.25) * np.concatenate([[0], mix[:-1]]).astype(np.float32)
    mix = mix + 10 ** rng.uniform(-4.5, -2.6) * _noise(rng)
    level = 10 ** (rng.uniform(-9, 0) / 20) * 0.8
    return (mix * (level / max(float(np.abs(mix).max()), 1e-6))).astype(np.float32)


def melody_line(
    melody: tuple[int, ...], rng: np.random.Generator, *, timbre: int | None = None
) -> np.ndarray:
    """The eight notes over 8 s in a random key, float32 [128000], amplitude about 1.

    Without a `timbre` one that is no pure tone is drawn.
    """
    if timbre is None:
        timbre = int(rng.integers(1, len(TIMBRES)))
    heights = np.cumsum((0, *melody))
    # the tune hangs around the same pitch whatever its range; the key is free within +-5 semitones
    root = int(rng.integers(-5, 6)) - round(float(heights.mean()) * 12 / 7)
    semitones = np.array([12 * (h // 7) + MAJOR[h % 7] for h in heights]) + root
    count = MELODY_STEPS + 1
    starts = np.arange(count) * (SEGMENT_SAMPLES / count) + rng.uniform(-0.06, 0.06, count) * SAMPLE_RATE_HZ
    starts = np.clip(starts, 0, SEGMENT_SAMPLES - 1).astype(int)
    line = np.zeros(SEGMENT_SAMPLES, np.float32)
    tune = 2 ** (rng.uniform(-0.3, 0.3) / 12)
    for i in range(count):
        end = starts[i + 1] if i + 1 < count else SEGMENT_SAMPLES
        length = int((end - starts[i]) * rng.uniform(0.8, 0.98))
        t = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
        hz = LEAD_HZ * tune * 2 ** (semitones[i] / 12)
        phase = np.float32(2 * np.pi * hz) * t + np.float32(0.15) * np.sin(np.float32(2 * np.pi * 5) * t)
        note = np.zeros(length, np.float32)
        for k, weight in enumerate(TIMBRES[timbre], start=1):
            if weight and hz * k < 7600:
                note += np.float32(weight) * np.sin(k * phase)
        line[starts[i] : starts[i] + length] += note * _fade(length, 320)
    return line


def _ambience(setting: int, rng: np.random.Generator) -> np.ndarray:
    bank = _band_noise()[setting % 4]
    start = int(rng.integers(bank.size - SEGMENT_SAMPLES))
    air = bank[start : start + SEGMENT_SAMPLES]
    rate = SWELL_HZ[setting // 4] * rng.uniform(0.92, 1.08)
    if rate:
        swell = 0.5 + 0.5 * np.sin(
            np.float32(2 * np.pi * rate) * _seconds() + np.float32(rng.uniform(0, 6.28))
        )
        air = air * swell**2 * 1.6
    return air


def _source(subject: int, rng: np.random.Generator) -> np.ndarray:
    """Calls of one of 8 kinds in groups of 1, 2, 3 or 6."""
    kind, group = subject % SUBJECT_KINDS, (1, 2, 3, 6)[subject // SUBJECT_KINDS]
    length = {1: 0.55, 2: 0.32, 3: 0.24, 6: 0.12}[group] * rng.uniform(0.9, 1.1)
    call = _call(kind, int(length * SAMPLE_RATE_HZ), 2 ** rng.uniform(-0.15, 0.15), rng)
    track = np.zeros(SEGMENT_SAMPLES, np.float32)
    rounds = 3
    for turn in range(rounds):
        at = (turn + rng.uniform(0.05, 0.45)) * 8.0 / rounds
        for hit in range(group):
            start = int((at + hit * length * 1.35) * SAMPLE_RATE_HZ)
            stop = min(start + call.size, SEGMENT_SAMPLES)
            if stop > start:
                track[start:stop] += call[: stop - start]
    return track


def _call(kind: int, length: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
    span = length / SAMPLE_RATE_HZ
    two_pi = np.float32(2 * np.pi)
    if kind == 0:  # sweep up
        wave = np.sin(two_pi * pitch * (1500 * t + (2000 / span) * t * t / 2))
    elif kind == 1:  # sweep down
        wave = np.sin(two_pi * pitch * (3600 * t - (2200 / span) * t * t / 2))
    elif kind == 2:  # bell
        wave = sum(np.sin(two_pi * pitch * 1100 * m * t) / m for m in (1.0, 2.76, 4.07)) * np.exp(
            -t * 4 / span
        )
    elif kind == 3:  # hiss
        wave = _band_noise()[3][:length] * 1.2
    elif kind == 4:  # buzz
        wave = 2 * ((pitch * 130 * t) % 1) - 1
    elif kind == 5:  # trill
        wave = np.sin(two_pi * pitch * 2500 * t + 18 * np.sin(two_pi * 14 * t))
    elif kind == 6:  # rattle
        wave = np.sign(np.sin(two_pi * 38 * t)) * _band_noise()[2][:length] * 1.2
    else:  # thump
        wave = np.sin(two_pi * pitch * (110 * t - (60 / span) * t * t / 2)) * 1.5
    return (wave * _fade(length, min(200, length // 4))).astype(np.float32)


def _pad(tension: int, rng: np.random.Generator) -> np.ndarray:
    t = _seconds()
    root = 174.6 * 2 ** (rng.uniform(-3, 3) / 12)
    pad = np.zeros(SEGMENT_SAMPLES, np.float32)
    for step in CHORDS[tension]:
        angle = np.float32(2 * np.pi * root * 2 ** (step / 12)) * t + np.float32(rng.uniform(0, 6.28))
        pad += np.sin(angle) + np.float32(0.35) * np.sin(2 * angle)
    if TREMOLO_HZ[tension]:
        pad *= 0.6 + 0.4 * np.sin(np.float32(2 * np.pi * TREMOLO_HZ[tension] * rng.uniform(0.95, 1.05)) * t)
    return pad


def _beat(pace: int, rng: np.random.Generator) -> np.ndarray:
    length = int(0.07 * SAMPLE_RATE_HZ)
    t = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
    tone = np.sin(np.float32(2 * np.pi * rng.uniform(70, 110)) * t)
    hit = (tone + 0.7 * _noise(rng)[:length]) * np.exp(-t * 60)
    track = np.zeros(SEGMENT_SAMPLES, np.float32)
    step = SAMPLE_RATE_HZ / (TEMPO_HZ[pace] * rng.uniform(0.94, 1.06))
    at = rng.uniform(0, step)
    while at < SEGMENT_SAMPLES - length:
        start = int(at + rng.uniform(-0.02, 0.02) * step)
        start = min(max(start, 0), SEGMENT_SAMPLES - length)
        track[start : start + length] += hit * np.float32(rng.uniform(0.8, 1.0))
        at += step
    return track


def _fade(length: int, edge: int) -> np.ndarray:
    envelope = np.ones(length, np.float32)
    edge = max(min(edge, length // 2), 1)
    ramp = np.linspace(0, 1, edge, dtype=np.float32)
    envelope[:edge] = ramp
    envelope[-edge:] = ramp[::-1]
    return envelope


@lru_cache
def _seconds() -> np.ndarray:
    return np.arange(SEGMENT_SAMPLES, dtype=np.float32) / SAMPLE_RATE_HZ


@lru_cache
def _white() -> np.ndarray:
    return np.random.Generator(np.random.PCG64(1)).standard_normal(60 * SAMPLE_RATE_HZ).astype(np.float32)


def _noise(rng: np.random.Generator) -> np.ndarray:
    """A stretch [128000] of one minute of white noise: grain, not content."""
    start = int(rng.integers(_white().size - SEGMENT_SAMPLES))
    return _white()[start : start + SEGMENT_SAMPLES]


@lru_cache
def _band_noise() -> tuple[np.ndarray, ...]:
    """A minute of noise in each ambience band, about an octave wide, unit RMS."""
    spectrum = np.fft.rfft(_white())
    hz = np.fft.rfftfreq(_white().size, 1 / SAMPLE_RATE_HZ)
    bands = []
    for centre in AMBIENCE_HZ:
        shape = np.exp(-0.5 * (np.log2(np.maximum(hz, 1.0) / centre) / 0.35) ** 2)
        band = np.fft.irfft(spectrum * shape)
        bands.append((band / band.std()).astype(np.float32))
    return tuple(bands)
