"""Rows of a pool as a batch for the encoders, seen anew each time: crops, flips, light, gain, shifts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.contract import WINDOW_SAMPLES
from resonance.export.families import tiny
from resonance.export.graphs.compact_audio import CompactAudioGraph
from resonance.export.graphs.compact_transcript import CompactTranscriptGraph
from resonance.export.graphs.compact_visual import CompactVisualGraph
from resonance.export.graphs.resize import reduction_matrix
from resonance.training.world.pool import FRAMES, Pool

#: The arrays of a pool that a step takes whole rows of, all but a hundredth of its bytes.
LARGE = ("frames", "mel", "contour", "hum_mel", "hum_contour")
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Views:
    """The encoders over a pool. Without `rng` rows are taken as they are.

    Every method takes row numbers int64 [B] and gives unit vectors [B, 596].

    Attributes:
        resident: arrays of the pool that are on the device already, see `resident`.
    """

    pool: Pool
    visual: CompactVisualGraph
    audio: CompactAudioGraph
    transcript: CompactTranscriptGraph
    encoder_px: int
    device: torch.device
    resident: Mapping[str, Tensor] = field(default_factory=dict)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Batch norms use their running statistics and leave them alone: those are the titles'."""
        norms = [m for m in self.visual.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        for norm in norms:
            norm.eval()
        yield
        for norm in norms:
            norm.train()

    def pictures(
        self, rows: np.ndarray, *, frames: int = FRAMES, rng: np.random.Generator | None = None
    ) -> Tensor:
        """`frames` of each segment, in order: the first ones, or drawn by `rng`."""
        chosen = np.arange(frames) if rng is None else np.sort(rng.choice(FRAMES, frames, replace=False))
        pixels = self._taken("frames", rows[:, None], chosen)  # (B, T, S, S, 3)
        pixels = pixels.flatten(0, 1).permute(0, 3, 1, 2)  # (B*T, 3, S, S)
        if rng is not None:
            pixels = _crop(pixels, rng)
        reduce = reduction_matrix(pixels.shape[-1], self.encoder_px).to(self.device).to(self.dtype)
        pixels = reduce @ pixels.to(self.dtype) @ reduce.T  # (B*T, 3, s, s)
        if rng is not None:
            pixels = _light(pixels, len(rows), rng)
        mask = torch.ones(len(rows), frames, dtype=torch.bool, device=self.device)
        return self.visual.embed(pixels.contiguous(memory_format=torch.channels_last), mask)

    @property
    def dtype(self) -> torch.dtype:
        """What the encoders will compute in: preparing a batch in float32 took as long as encoding it."""
        kind = self.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32

    def sounds(
        self, rows: np.ndarray, *, hums: bool = False, rng: np.random.Generator | None = None
    ) -> Tensor:
        """The sound of each segment, or the hums at those rows of the hums' own arrays."""
        prefix = "hum_" if hums else ""
        # moved as they are and converted there: in one call the host would convert them before
        mel, contour = (
            self._taken(f"{prefix}{name}", rows).to(self.dtype) for name in ("mel", "contour")
        )  # (B, frames, bands), (B, steps, offsets)
        if rng is not None:
            mel = self._microphone(mel, rng)
        samples = np.full(len(rows), WINDOW_SAMPLES) if hums else self.pool["samples"][rows]
        return self.audio.embed(mel, contour, torch.from_numpy(samples).unsqueeze(1).to(self.device))

    def words(self, rows: np.ndarray) -> Tensor:
        """The transcript of each segment."""
        lengths = torch.from_numpy(self.pool["lengths"][rows])  # (B,)
        longest = int(lengths.max())
        ids = torch.from_numpy(self.pool["ids"][rows][:, :longest].astype(np.int64))
        mask = (torch.arange(longest) < lengths.unsqueeze(1)).long()
        return self.transcript(ids.to(self.device), mask.to(self.device))

    def _taken(self, name: str, *where: np.ndarray) -> Tensor:
        """Those elements of the pool's array, on the device, in the array's own type."""
        there = self.resident.get(name)
        if there is None:
            return torch.from_numpy(self.pool[name][where]).to(self.device)
        return there[tuple(torch.from_numpy(w).to(self.device) for w in where)]

    def _microphone(self, mel: Tensor, rng: np.random.Generator) -> Tensor:
        """Gain and tone of each row, the same shift in time for all: [B, frames, bands]."""
        count, _, bands = mel.shape
        tilt = np.linspace(-1, 1, bands) * rng.uniform(-0.08, 0.08, (count, 1))
        offset = torch.from_numpy((rng.uniform(-0.15, 0.15, (count, 1)) + tilt).astype(np.float32))
        floor = (tiny.MEL["floor_db"] - tiny.MEL["mean_db"]) / tiny.MEL["range_db"]
        mel = (mel + offset.unsqueeze(1).to(mel)).clamp_min_(floor)
        return mel.roll(int(rng.integers(-20, 21)), 1)


def resident(pool: Pool, device: torch.device) -> dict[str, Tensor]:
    """The large arrays of `pool` on a GPU that has room for twice as much; else nothing.

    Gathering a batch's rows from the memory map takes the host longer than a GPU takes to learn from them.
    """
    if device.type != "cuda":
        return {}
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if 2 * sum(pool[name].nbytes for name in LARGE) > free_bytes:
        return {}
    return moved(pool, device)


def moved(pool: Pool, device: torch.device) -> dict[str, Tensor]:
    """The large arrays of `pool` on `device`, in pieces: whole ones would fill the host's memory twice."""
    found = {}
    for name in LARGE:
        array = pool[name]
        there = torch.empty(array.shape, dtype=torch.from_numpy(array[:0].copy()).dtype, device=device)
        for start in range(0, len(array), ROWS_AT_ONCE):
            piece = slice(start, start + ROWS_AT_ONCE)
            there[piece] = torch.from_numpy(np.array(array[piece])).to(device)
        found[name] = there
    return found


def _crop(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """One crop and perhaps a flip for the whole batch."""
    side = pixels.shape[-1]
    crop = int(rng.integers(side * 3 // 4, side + 1))
    top, left = rng.integers(0, side - crop + 1, 2)
    pixels = pixels[:, :, top : top + crop, left : left + crop]
    return pixels.flip(3) if rng.random() < 0.5 else pixels


def _light(pixels: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Light and colour for each of `count` rows of frames [count * T, 3, s, s]; in place."""
    gain = rng.uniform(0.92, 1.08, (count, 1, 1, 1)) * rng.uniform(0.97, 1.03, (count, 3, 1, 1))
    lift = rng.uniform(-6, 6, (count, 1, 1, 1))
    each = pixels.shape[0] // count
    gain, lift = (torch.from_numpy(np.repeat(x, each, 0).astype(np.float32)).to(pixels) for x in (gain, lift))
    return pixels.mul_(gain).add_(lift).clamp_(0, 255)
