"""Alignment of frozen encoders: projections into the shared space, then the fusion head, from features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.graphs.fusion import FusionGraph
from resonance.space.descriptor import MODALITIES
from resonance.training.contrast import group_weights, info_nce
from resonance.training.fairness import fairness_loss
from resonance.training.features import TitleFeatures
from resonance.training.fusion import FusionSettings, train_fusion
from resonance.training.heldout import HeldOut, held_out_rows
from resonance.training.loop import LoopSettings, Losses, train
from resonance.training.segments import PAIRS, Segments, project
from resonance.training.titles import TitleBlocks
from resonance.training.towers import Temperatures

#: The fusion head tells the order of segments, and titles from one another: it needs stretches of so many
#: segments, and so many of them.
LEAST_STRETCH, LEAST_STRETCHES = 4, 4


class TooLittleError(ValueError):
    """There is too little to learn from; the message says what there is and what is needed."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """`balance`: the power of a group's inverse frequency that its rows are weighed by (`group_weights`);
    `fairness`: the weight of `fairness_loss`, of titles whose groups were audited; `held_out`: the share of
    titles that the projections are not trained on, see `held_out_titles`."""

    loop: LoopSettings = field(default_factory=lambda: LoopSettings(steps=500, learning_rate=1e-3))
    batch: int = 1024
    hardness: float = 0.0
    balance: float = 0.0
    fairness: float = 0.0
    held_out: float = 0.1
    segments_per_title: int = 8
    fusion: FusionSettings = field(
        default_factory=lambda: FusionSettings(LoopSettings(steps=300, learning_rate=5e-4), titles=64)
    )


@dataclass(frozen=True, slots=True)
class TrainedHeads:
    """What training came to.

    Attributes:
        blocks: of all segments, fp32 [R, 3, 596].
        fusion_lacks: why the fusion head was not trained, "" where it was.
        held_rows: the segments of titles held out from the projections, bool [R].
        held: what was seen of them; None where there are none.
    """

    blocks: Tensor
    fusion_lacks: str
    held_rows: Tensor
    held: HeldOut | None


def train_projections(
    projections: nn.ModuleList,
    segments: Segments,
    settings: HeadSettings,
    folder: Path,
    device: torch.device,
    held_out: Segments | None = None,
) -> HeldOut | None:
    """Train the three projections in place on what co-occurs in a segment.

    Args:
        held_out: segments of other titles, which say how long to train: the projections become those of the
            step that found them best, and stay as they were where none did better. With a fairness term,
            which recall pays for, they become those of the last step. None: the last step.

    Returns:
        What was seen of `held_out`.

    Raises:
        TooLittleError: no two modalities co-occur in at least 8 segments.
    """
    together = [(a, b) for a, b in PAIRS if int((segments.present[:, a] & segments.present[:, b]).sum()) >= 8]
    if not together:
        counts = {m: int(n) for m, n in zip(MODALITIES, segments.present.sum(0), strict=True)}
        raise TooLittleError(
            f"{len(segments.present)} segments with {counts}: no two modalities occur together in 8 of them; "
            "give media with sound, pictures or transcripts that belong together"
        )
    pairs = {(a, b): f"{MODALITIES[a]}_{MODALITIES[b]}" for a, b in together}
    temperatures = Temperatures(tuple(pairs.values()))
    usable = torch.nonzero(segments.present.sum(1) >= 2)[:, 0].numpy()
    fair = settings.fairness > 0 and segments.audited.shape[1] > 0

    def losses(rng: np.random.Generator, step: int) -> Losses:
        rows = torch.from_numpy(rng.choice(usable, min(settings.batch, len(usable)), replace=False))
        blocks = project(projections, tuple(f[rows].to(device) for f in segments.features))
        present, groups = segments.present[rows].to(device), segments.groups[rows].to(device)
        parts = {}
        for (a, b), pair in pairs.items():
            both = present[:, a] & present[:, b]
            if int(both.sum()) < 2:
                continue
            parts[pair] = info_nce(
                blocks[both, a],
                blocks[both, b],
                temperatures(pair),
                hardness=settings.hardness,
                weights=group_weights(groups[both], settings.balance) if settings.balance else None,
            )
        total = torch.stack(list(parts.values())).sum()
        if fair:
            audited, titles = segments.audited[rows].to(device), segments.titles[rows].to(device)
            parts["fairness"] = fairness_loss(blocks, present, audited, titles)
            total = total + settings.fairness * parts["fairness"]
        return {"loss": total, **parts}

    held = None
    if held_out is not None:
        held = HeldOut(projections, held_out, balance=settings.balance, keep_best=not fair, device=device)
    modules: dict[str, nn.Module] = {"projections": projections, "temperatures": temperatures}
    train(
        modules,
        losses,
        settings.loop,
        folder,
        title="projections",
        device=device,
        made_of={"held_out_segments": 0 if held_out is None else len(held_out.present)},
        watch=held,
    )
    return held


def title_chunks(titles: list[TitleFeatures], blocks: Tensor, length: int) -> TitleBlocks | None:
    """Stretches of `length` segments (or of the longest title, if none is so long) of blocks [R, 3, 596]."""
    length = min(length, max(len(t.present) for t in titles)) // 2 * 2
    if length < LEAST_STRETCH:
        return None  # nothing whose order could be told
    kept, present, times = [], [], []
    at = 0
    for title in titles:
        count = len(title.present)
        for start in range(0, count - length + 1, length):
            rows = slice(start, start + length)
            kept.append(blocks[at + start : at + start + length])
            present.append(torch.from_numpy(title.present[rows]))
            times.append(torch.from_numpy(title.times_s[rows] - title.times_s[start]))
        at += count
    return TitleBlocks(torch.stack(kept), torch.stack(present), torch.stack(times))


def train_heads(
    projections: nn.ModuleList,
    fusion: FusionGraph,
    titles: list[TitleFeatures],
    settings: HeadSettings,
    folder: Path,
    device: torch.device,
) -> TrainedHeads:
    """Both stages in place; the second only where the titles are long enough for it, and on all of them.

    Raises:
        TooLittleError: see `train_projections`.
    """
    segments = Segments.of(titles)
    held_rows = held_out_rows(titles, settings.held_out, settings.loop.seed)
    held = train_projections(
        projections,
        segments.take(~held_rows),
        settings,
        folder / "projections",
        device,
        segments.take(held_rows) if held_rows.any() else None,
    )
    with torch.inference_mode():
        blocks = project(projections.cpu(), segments.features)
    blocks = blocks.clone()  # an inference tensor cannot be trained on
    chunks = title_chunks(titles, blocks, settings.segments_per_title)
    lacks = _fusion_lacks(titles, chunks)
    if chunks is not None and not lacks:
        train_fusion(fusion, chunks, settings.fusion, folder / "fusion", device=device)
    return TrainedHeads(blocks, lacks, held_rows, held)


def _fusion_lacks(titles: list[TitleFeatures], chunks: TitleBlocks | None) -> str:
    """What came and what the fusion head needs, or "" where it can be trained."""
    if chunks is None:
        longest = max(len(t.present) for t in titles)
        return (
            f"the longest title has {longest} segments; expected {LEAST_STRETCHES} stretches of at least "
            f"{LEAST_STRETCH} segments"
        )
    count, length = chunks.present.shape[:2]
    if count < LEAST_STRETCHES:
        return (
            f"{len(titles)} titles have {count} stretches of {length} segments; expected at least "
            f"{LEAST_STRETCHES}: give more titles that are so long"
        )
    return ""
