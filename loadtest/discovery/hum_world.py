"""Clips and hums of the procedural world, and what `tiny`'s trained audio block makes of them.

They are those of `resonance evaluate-tiny`: of each held-out title one segment that has a hum of its melody,
in another key and with a pure tone's timbre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from librosa.effects import time_stretch
from rich.progress import track
from torch import nn
from torch.nn import functional

from resonance.training.evaluate import clip_rows
from resonance.training.recipes import RECIPES
from resonance.training.tiny import SEGMENT_S
from resonance.training.titles import TitleBlocks
from resonance.training.world.measure import fuse_titles
from resonance.training.world.oracle import MELODY
from resonance.training.world.pool import Pool, encode_factors, render_segment
from resonance.training.world.sound import SEGMENT_SAMPLES

SETTINGS = RECIPES["cpu"].evaluation
#: Clips encoded at once.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class HummedClips:
    """Clips and a hum of each, int16 [N, 128000] at 16 kHz, memory-mapped; melodies int8 [N, 7]."""

    clips: np.ndarray
    hums: np.ndarray
    melodies: np.ndarray

    def first(self, count: int) -> HummedClips:
        """Some of them."""
        return HummedClips(self.clips[:count], self.hums[:count], self.melodies[:count])


def hummed_clips(folder: Path, *, workers: int) -> HummedClips:
    """All 1,001 of them; rendered once, kept in `folder` (515 MB)."""
    kept = folder / f"hums-{SETTINGS.seed}-{SETTINGS.titles}-{SETTINGS.version}"
    names = ("clips", "hums", "melodies")
    if not kept.exists():
        rows = clip_rows(Pool(SETTINGS, {})).tolist()
        with ProcessPoolExecutor(workers) as executor:
            made = list(track(executor.map(_rendered, rows, chunksize=8), "rendering clips", total=len(rows)))
        half = kept.with_suffix(".part")
        half.mkdir(parents=True, exist_ok=True)
        for name, rows_of_it in zip(names, zip(*made, strict=True), strict=True):
            np.save(half / f"{name}.npy", np.stack(rows_of_it))
        half.rename(kept)
    return HummedClips(*(np.load(kept / f"{name}.npy", mmap_mode="r") for name in names))


def _rendered(row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    segment = render_segment(SETTINGS, row)
    assert segment.hum is not None, "rows of clips have a hum"
    return _as_int16(segment.pcm), _as_int16(segment.hum), encode_factors(segment.factors)[list(MELODY)]


def _as_int16(pcm: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pcm, -1, 1) * 32767).astype(np.int16)


def as_float(pcm: np.ndarray) -> np.ndarray:
    """PCM int16 as float32 -1..1."""
    return pcm.astype(np.float32) / np.float32(32767)


def at_tempo(hum: np.ndarray, tempo: float) -> np.ndarray:
    """A hum [n] sung `tempo` times as fast in the same key, float32 [n / tempo]."""
    if tempo == 1.0:
        return hum
    return np.asarray(time_stretch(hum, rate=tempo), np.float32)


class AudioBlocks:
    """The trained audio encoder, and titles of sound alone fused as a search with an example has them."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._audio: Any = modules["audio_encoder"].eval()
        self._fusion = modules["title_fusion"].eval()

    @torch.inference_mode()
    def of_windows(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """Blocks [N, 596] of windows of at most 8 s, float32 [n] each."""
        found = []
        for start in range(0, len(windows), _AT_ONCE):
            chunk = windows[start : start + _AT_ONCE]
            pcm = np.zeros((len(chunk), SEGMENT_SAMPLES), np.float32)
            for row, window in zip(pcm, chunk, strict=True):
                row[: len(window)] = window
            lengths = torch.tensor([[len(window)] for window in chunk])
            mel, contour = self._audio.features(torch.from_numpy(pcm), lengths)
            found.append(self._audio.embed(mel, contour, lengths))
        return torch.cat(found)

    def of_titles(self, sounds: Sequence[np.ndarray]) -> torch.Tensor:
        """Audio blocks [N, 596], unit, of the titles that sounds of equal length make, of any windows."""
        length = len(sounds[0])
        starts = range(0, length, SEGMENT_SAMPLES)
        windows = [self.of_windows([sound[at : at + SEGMENT_SAMPLES] for sound in sounds]) for at in starts]
        if len(windows) == 1:
            return windows[0]
        heard = torch.stack(windows, dim=1)  # (N, S, 596)
        blocks = torch.zeros(*heard.shape[:2], 3, heard.shape[2])
        blocks[:, :, 1] = heard
        present = torch.tensor([False, True, False]).expand(blocks.shape[:3])
        times_s = (torch.arange(blocks.shape[1]) * SEGMENT_S).expand(blocks.shape[:2]).float()
        titles = fuse_titles(self._fusion, TitleBlocks(blocks, present, times_s))  # (N, 1788)
        return functional.normalize(titles.reshape(len(titles), 3, -1)[:, 1], dim=1)
