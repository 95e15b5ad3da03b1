"""Melodies as sound, made for tests: notes of equal length, sung or played with harmonics."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from resonance.clients.ingest.rows import title_schema
from tests.clients.ingest.made import SPACE, made_row

SAMPLE_RATE_HZ = 16_000
PURE = (1.0,)
REED = (1.0, 0.5, 0.3, 0.2)


def tune_notes(seed: int, count: int = 8) -> list[int]:
    """Semitones above A4, no two neighbours alike; another seed is another melody."""
    chance = np.random.default_rng(seed)
    notes = [0]
    while len(notes) < count:
        step = int(chance.choice([-7, -5, -3, -2, 2, 3, 5, 7]))
        notes.append(notes[-1] + (step if abs(notes[-1] + step) <= 9 else -step))
    return notes


def sung_tune(
    notes: Sequence[float], *, note_s: float = 1.0, key: float = 0.0, timbre: Sequence[float] = PURE
) -> np.ndarray:
    """PCM float32 [samples] at 16 kHz; `key`: semitones that all notes are moved by."""
    length = round(note_s * SAMPLE_RATE_HZ)
    t = np.arange(length) / SAMPLE_RATE_HZ
    fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 320)
    parts = []
    for note in notes:
        hz = 440 * 2 ** ((note + key) / 12)
        tone = sum(w * np.sin(2 * np.pi * hz * k * t) for k, w in enumerate(timbre, start=1))
        parts.append(0.3 * tone * fade)
    return np.concatenate(parts).astype(np.float32)


def write_wav(path: Path, pcm: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(np.rint(pcm * 32767).astype("<i2").tobytes())
    return path


def stored_tune(media_id: str, path: Path, version: str = "v1") -> pa.Table:
    """The row of a title of one segment with sound, whose media is at `path`."""
    (row,) = made_row(media_id, version, segments=1).to_pylist()
    return pa.Table.from_pylist([{**row, "uri": str(path), "duration_s": 8.0}], schema=title_schema(SPACE))
