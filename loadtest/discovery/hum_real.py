"""Excerpts of real music and speech as hums of the recordings that they are from.

Each is played at another speed, in another key or through a telephone; all other recordings are distractors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
from librosa.effects import pitch_shift
from rich.progress import track

from resonance.clients.discovery.contours import Track
from resonance.clients.discovery.melody import MelodyHit, MelodyIndex
from resonance.clients.discovery.pitch import HOP_S, SAMPLE_RATE_HZ, contour
from resonance.clients.errors import UsageError
from resonance.clients.media.types import FloatArray
from resonance.loadtest.discovery.hum_world import AudioBlocks

WINDOW_SAMPLES = 8 * SAMPLE_RATE_HZ
#: Files whose name starts so have a melody, or a voice, and are asked for.
ASKED = ("music_", "speech_")
EXCERPTS = 4
SEED = 11
#: A place is right where it starts this near to where the excerpt was taken.
NEAR_S = 2.0


def _faster(pcm: FloatArray) -> FloatArray:
    return librosa.resample(pcm, orig_sr=SAMPLE_RATE_HZ * 5 / 4, target_sr=SAMPLE_RATE_HZ)


def _slower(pcm: FloatArray) -> FloatArray:
    return librosa.resample(pcm, orig_sr=SAMPLE_RATE_HZ * 4 / 5, target_sr=SAMPLE_RATE_HZ)


def _higher(pcm: FloatArray) -> FloatArray:
    return pitch_shift(pcm, sr=SAMPLE_RATE_HZ, n_steps=3)


def _telephone(pcm: FloatArray) -> FloatArray:
    """300 to 3,400 Hz, in the spectrum of the whole."""
    spectrum = np.fft.rfft(pcm)
    hz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE_HZ)
    return np.fft.irfft(np.where((hz > 300) & (hz < 3400), spectrum, 0), len(pcm)).astype(np.float32)


CHANGES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "as it is": lambda pcm: pcm,
    "speed x 1.25, 3.9 semitones up": _faster,
    "speed x 0.8, 3.9 semitones down": _slower,
    "3 semitones up": _higher,
    "telephone, slower": lambda pcm: _telephone(_slower(pcm)),
}


@dataclass(frozen=True, slots=True)
class RealRecall:
    """Share of excerpts whose recording is the first found, and whose place is right too (contour alone)."""

    kind: str
    change: str
    excerpts: int
    recordings: int
    contour_recording: float
    contour_place: float
    block_recording: float


@dataclass(frozen=True, slots=True)
class _Recording:
    name: str
    pcm: FloatArray

    def windows(self) -> list[FloatArray]:
        """As a title is cut."""
        return [self.pcm[at : at + WINDOW_SAMPLES] for at in range(0, len(self.pcm), WINDOW_SAMPLES)]


def measure_real(folder: Path, blocks: AudioBlocks) -> Iterator[RealRecall]:
    """All files under `folder`/audio; nothing was trained on them."""
    recordings = [
        _Recording(path.stem, librosa.load(path, sr=SAMPLE_RATE_HZ, mono=True)[0].astype(np.float32))
        for path in track(sorted((folder / "audio").iterdir()), "reading recordings")
    ]
    windows = [recording.windows() for recording in recordings]
    tracks = [
        Track(recording.name, 0.0, np.concatenate([contour(window) for window in parts]))
        for recording, parts in zip(recordings, track(windows, "contours of recordings"), strict=True)
    ]
    index = MelodyIndex(tracks, HOP_S)
    library = blocks.of_windows([window for parts in windows for window in parts])  # (W, 596)
    owners = [recording.name for recording, parts in zip(recordings, windows, strict=True) for _ in parts]
    chance = np.random.default_rng(SEED)
    for kind in ASKED:
        asked = [
            (recording, int(start))
            for recording in recordings
            if recording.name.startswith(kind) and len(recording.pcm) >= WINDOW_SAMPLES
            for start in chance.integers(len(recording.pcm) - WINDOW_SAMPLES + 1, size=EXCERPTS)
        ]
        for change, apply in CHANGES.items():
            found = np.zeros(3)
            for recording, start in track(asked, f"{kind}: {change}"):
                hum = apply(recording.pcm[start : start + WINDOW_SAMPLES])
                hit = _nearest(index, hum)
                right = hit is not None and hit.media_id == recording.name
                near = hit is not None and right and abs(hit.start_s - start / SAMPLE_RATE_HZ) <= NEAR_S
                heard = owners[int((library @ blocks.of_titles([hum])[0]).argmax())] == recording.name
                found += (right, near, heard)
            shares = (found / len(asked)).tolist()
            yield RealRecall(kind.rstrip("_"), change, len(asked), len(recordings), *shares)


def _nearest(index: MelodyIndex, hum: FloatArray) -> MelodyHit | None:
    try:
        return next(iter(index.find(contour(hum), limit=1)), None)
    except UsageError:
        return None
