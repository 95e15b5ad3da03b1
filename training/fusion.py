"""Training of the fusion head on blocks of whole titles; the encoders stand still, so it takes minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resonance.export.graphs.fusion import FusionGraph
from resonance.training.contrast import info_nce
from resonance.training.loop import LoopSettings, Losses, train

#: Subsets of (visual, audio, transcript) that a title may be reduced to.
SUBSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))


@dataclass(frozen=True, slots=True)
class TitleBlocks:
    """Blocks of titles of equal length: blocks float [N titles, S, 3, 596] unit, present bool [N, S, 3],
    times_s float [N, S] from the title's start."""

    blocks: Tensor
    present: Tensor
    times_s: Tensor


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """Loss weights and sizes of a batch of titles."""

    loop: LoopSettings
    titles: int = 96
    infer_weight: float = 1.0
    subset_weight: float = 1.0
    order_weight: float = 1.0
    own_segments_weight: float = 0.2
    #: Share of titles whose blocks are moved to where the encoders have not been, see `unfamiliar`.
    unfamiliar: float = 0.25
    #: Cosines enter the softmax times this; shuffled copies of a title lie close to it.
    scale: float = 20.0


def fuse_batch(
    fusion: FusionGraph, blocks: Tensor, present: Tensor, times_s: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`fusion` on titles of equal length, [B, S, ...] -> TITLE [B, 1788], SEGMENTS [B, S, 1788],
    SALIENCE [B, S]."""
    return torch.vmap(fusion)(blocks, present, times_s)


def train_fusion(
    fusion: FusionGraph,
    titles: TitleBlocks,
    settings: FusionSettings,
    folder: Path,
    *,
    device: torch.device,
) -> Path:
    """Train `fusion` in place; returns the log of losses.

    Terms: inferred blocks match the true ones; odd and even segments of a title match, with the even
    ones shuffled in time as one more negative; a title reduced to some modalities matches itself; a
    title stays near its own segments.
    """

    def losses(rng: np.random.Generator, step: int) -> Losses:
        count = titles.blocks.shape[0]
        rows = torch.from_numpy(rng.choice(count, min(settings.titles, count), replace=False))
        blocks = unfamiliar(titles.blocks[rows], settings.unfamiliar, rng)
        batch = TitleBlocks(
            blocks.to(device), titles.present[rows].to(device), titles.times_s[rows].to(device)
        )
        infer = inference_loss(fusion, batch, rng, settings.scale)
        order = order_loss(fusion, batch, rng, settings.scale)
        subset, near = subset_loss(fusion, batch, rng, settings.scale)
        total = (
            settings.infer_weight * infer
            + settings.order_weight * order
            + settings.subset_weight * subset
            + settings.own_segments_weight * near
        )
        return {"loss": total, "infer": infer, "order": order, "subset": subset, "own_segments": near}

    return train({"fusion": fusion}, losses, settings.loop, folder, title="fusion head", device=device)


def unfamiliar(blocks: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Blocks [B, S, 3, 596], those of a `share` of the titles with dimensions exchanged and signs flipped.

    All of a title alike, so that its blocks keep their angles to each other and lie where nothing was
    learned. A head that has only met its own world corrects such titles as if it knew them: on real
    footage it then found copies less often than the mean of the blocks did.
    """
    blocks = blocks.clone()
    width = blocks.shape[-1]
    for i in np.flatnonzero(rng.random(len(blocks)) < share):
        order = torch.from_numpy(rng.permutation(width))
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], width).astype(np.float32))
        blocks[i] = blocks[i][..., order] * signs
    return blocks


def _subset_masks(count: int, rng: np.random.Generator) -> Tensor:
    """A proper subset of the modalities for each title, bool [count, 3]."""
    return torch.tensor(SUBSETS, dtype=torch.bool)[torch.from_numpy(rng.integers(len(SUBSETS), size=count))]


def inference_loss(fusion: FusionGraph, batch: TitleBlocks, rng: np.random.Generator, scale: float) -> Tensor:
    """What is inferred for a removed block against what stood there, among the blocks of all segments."""
    blocks, present = batch.blocks.flatten(0, 1), batch.present.flatten(0, 1)  # (R, 3, 596), (R, 3)
    left = present & _subset_masks(blocks.shape[0], rng).to(blocks.device)
    removed = present & ~left & left.any(1, keepdim=True)  # (R, 3)
    complete, _ = fusion.complete(blocks, left)  # (R, 3, 596)
    total = blocks.new_zeros(())
    for m in range(3):
        rows = torch.nonzero(removed[:, m])[:, 0]
        if len(rows) < 2:
            continue
        rows = rows[torch.from_numpy(rng.permutation(len(rows))[:256])]
        inferred, true = complete[rows, m], blocks[rows, m]
        total = total + info_nce(inferred, true, scale) + (1.0 - (inferred * true).sum(1)).mean()
    return total / 3.0


def order_loss(fusion: FusionGraph, batch: TitleBlocks, rng: np.random.Generator, scale: float) -> Tensor:
    """Odd segments against even ones; the even ones shuffled in time are one more negative.

    Half of the titles are reduced to a subset of their modalities first, so that order is learned from
    each of them.
    """
    present = batch.present.clone()
    half = present.shape[0] // 2
    masks = _subset_masks(half, rng).to(present.device).unsqueeze(1)  # (half, 1, 3)
    kept = present[:half] & masks
    present[:half] = torch.where(kept.any(dim=(1, 2), keepdim=True), kept, present[:half])
    length = batch.blocks.shape[1] // 2 * 2
    even, odd = slice(0, length, 2), slice(1, length, 2)
    a = fuse_batch(fusion, batch.blocks[:, even], present[:, even], batch.times_s[:, even])[0]
    b = fuse_batch(fusion, batch.blocks[:, odd], present[:, odd], batch.times_s[:, odd])[0]
    order = torch.from_numpy(shuffled(length // 2, batch.blocks.shape[0], rng)).to(a.device)  # (B, S/2)
    rows = torch.arange(len(order), device=a.device).unsqueeze(1)
    c = fuse_batch(
        fusion, batch.blocks[:, odd][rows, order], present[:, odd][rows, order], batch.times_s[:, odd]
    )[0]
    # the margin between a title and its shuffle is small beside that between titles: its own softmax
    margin = scale * ((a * b).sum(1) - (a * c).sum(1))  # (B,)
    return info_nce(a, b, scale, extra_negatives=c) + functional.softplus(-4.0 * margin).mean()


def shuffled(length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random orders of `length` segments, none of them the order itself, int64 [count, length]."""
    orders: list[np.ndarray] = []
    while len(orders) < count:
        order = rng.permutation(length)
        if (order != np.arange(length)).any():
            orders.append(order)
    return np.stack(orders)


def subset_loss(
    fusion: FusionGraph, batch: TitleBlocks, rng: np.random.Generator, scale: float
) -> tuple[Tensor, Tensor]:
    """Titles with modalities missing against whole titles; and each title against its own segments."""
    whole, segments, _ = fuse_batch(fusion, batch.blocks, batch.present, batch.times_s)
    left = batch.present & _subset_masks(len(whole), rng).to(whole.device).unsqueeze(1)
    left = torch.where(left.any(dim=(1, 2), keepdim=True), left, batch.present)
    # a segment of what is left may have nothing at all: it keeps what it had
    left = torch.where(left.any(2, keepdim=True), left, batch.present)
    reduced = fuse_batch(fusion, batch.blocks, left, batch.times_s)[0]
    mean = functional.normalize(segments.mean(1), dim=1)  # (B, 1788)
    return info_nce(reduced, whole, scale), info_nce(whole, mean, scale)
