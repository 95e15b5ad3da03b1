"""Training of the fusion head on blocks of whole titles; the encoders stand still, so it takes minutes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resonance.export.graphs.fusion import FusionGraph
from resonance.training.contrast import info_nce
from resonance.training.loop import NOTHING_MORE, LoopSettings, Losses, train
from resonance.training.titles import TitleBlocks, narrowed, shuffled, subset_masks
from resonance.training.unfamiliar import steadiness_loss, unfamiliar_titles

#: Segments of the shortest title whose halves have an order, and by how much times are stretched at most.
SHORTEST, LARGEST_STRETCH = 4, 8.0


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """Loss weights and sizes of a batch of titles.

    Attributes:
        titles, unfamiliar: titles a step, and beside them those of `unfamiliar_titles`.
        part_weight: of stretches of a title against the whole of it.
        steady_weight: of leaving unfamiliar titles as plain means have them.
        scale: cosines enter the softmax times this; shuffled copies of a title lie close to it.
    """

    loop: LoopSettings
    titles: int = 80
    unfamiliar: int = 24
    infer_weight: float = 1.0
    subset_weight: float = 1.0
    order_weight: float = 1.0
    part_weight: float = 0.5
    own_segments_weight: float = 0.2
    steady_weight: float = 10.0
    scale: float = 20.0


def fuse_batch(fusion: FusionGraph, titles: TitleBlocks) -> tuple[Tensor, Tensor, Tensor]:
    """`fusion` on each title -> TITLE [N, 1788], SEGMENTS [N, S, 1788], SALIENCE [N, S]."""
    return torch.vmap(fusion)(titles.blocks, titles.present, titles.times_s)


def train_fusion(
    fusion: FusionGraph,
    titles: TitleBlocks,
    settings: FusionSettings,
    folder: Path,
    *,
    device: torch.device,
    wild: Tensor | None = None,
    made_of: Mapping[str, Any] = NOTHING_MORE,
) -> Path:
    """Train `fusion` in place; returns the log of losses.

    Terms: inferred blocks match the true ones; odd and even segments of a title match, with the even
    ones shuffled in time as one more negative; a title reduced to some modalities, or to a stretch of its
    time, matches itself; a title stays near its own segments; unfamiliar titles are left alone.

    Args:
        wild: see `unfamiliar_titles`.
        made_of: what decided `titles`; see `train`.
    """

    def losses(rng: np.random.Generator, step: int) -> Losses:
        rows = torch.from_numpy(rng.choice(len(titles), min(settings.titles, len(titles)), replace=False))
        batch = _of_some_length(titles[rows], rng).to(device)
        strange = unfamiliar_titles(titles, wild, settings.unfamiliar, rng).to(device)
        infer = inference_loss(fusion, batch, rng, settings.scale)
        order = order_loss(fusion, batch, rng, settings.scale)
        subset, part, near = reduction_losses(fusion, batch, rng, settings.scale)
        steady = steadiness_loss(fusion, strange)
        total = (
            settings.infer_weight * infer
            + settings.order_weight * order
            + settings.subset_weight * subset
            + settings.part_weight * part
            + settings.own_segments_weight * near
            + settings.steady_weight * steady
        )
        parts = {"infer": infer, "order": order, "subset": subset, "part": part}
        return {"loss": total, **parts, "own_segments": near, "steady": steady}

    return train(
        {"fusion": fusion},
        losses,
        settings.loop,
        folder,
        title="fusion head",
        device=device,
        made_of={**asdict(settings), **made_of},
    )


def _of_some_length(titles: TitleBlocks, rng: np.random.Generator) -> TitleBlocks:
    """Every other time as they are, else a stretch of them whose segments lie further apart."""
    if rng.random() < 0.5 or titles.length < SHORTEST:
        return titles
    length = int(rng.integers(max(titles.length // 2, SHORTEST), titles.length + 1))
    first = int(rng.integers(titles.length - length + 1))
    part = titles.during(slice(first, first + length))
    stretch = math.exp(rng.uniform(0.0, math.log(LARGEST_STRETCH)))
    return TitleBlocks(part.blocks, part.present, (part.times_s - part.times_s[:, :1]) * stretch)


def inference_loss(fusion: FusionGraph, batch: TitleBlocks, rng: np.random.Generator, scale: float) -> Tensor:
    """What is inferred for a removed block against what stood there, among the blocks of all segments."""
    blocks, present = batch.blocks.flatten(0, 1), batch.present.flatten(0, 1)  # (R, 3, 596), (R, 3)
    left = present & subset_masks(blocks.shape[0], rng).to(blocks.device)
    some = left.any(1)  # from nothing nothing can be inferred, and a vector of zeros has no gradient
    blocks, present, left = blocks[some], present[some], left[some]
    removed = present & ~left  # (R, 3)
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
    """Odd segments against even ones; the odd ones shuffled in time are one more negative.

    Half of the titles are reduced to a subset of their modalities first, so that order is learned from
    each of them.
    """
    half = len(batch) // 2
    reduced = _reduced(batch[:half], rng)
    present = torch.cat([reduced.present, batch.present[half:]])
    even, odd = batch.showing(present).halves()
    orders = torch.from_numpy(shuffled(odd.length, len(odd), rng)).to(odd.blocks.device)  # (N, S/2)
    a, b, c = (fuse_batch(fusion, side)[0] for side in (even, odd, odd.reordered(orders)))
    # the margin between a title and its shuffle is small beside that between titles: its own softmax
    margin = scale * ((a * b).sum(1) - (a * c).sum(1))  # (N,)
    return info_nce(a, b, scale, extra_negatives=c) + functional.softplus(-4.0 * margin).mean()


def _reduced(titles: TitleBlocks, rng: np.random.Generator) -> TitleBlocks:
    """Each title with some of its modalities; segments that would have none keep what they had."""
    masks = subset_masks(len(titles), rng).to(titles.present.device).unsqueeze(1)  # (N, 1, 3)
    return titles.showing(narrowed(titles.present, masks))


def reduction_losses(
    fusion: FusionGraph, batch: TitleBlocks, rng: np.random.Generator, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Titles with modalities missing against whole titles; stretches of half their length or more against
    whole titles; and each title against its own segments."""
    whole, segments, _ = fuse_batch(fusion, batch)
    reduced = fuse_batch(fusion, _reduced(batch, rng))[0]
    length = int(rng.integers((batch.length + 1) // 2, batch.length + 1))
    first = int(rng.integers(batch.length - length + 1))
    part = fuse_batch(fusion, batch.during(slice(first, first + length)))[0]
    mean = functional.normalize(segments.mean(1), dim=1)  # (N, 1788)
    return info_nce(reduced, whole, scale), info_nce(part, whole, scale), info_nce(whole, mean, scale)
