"""Alignment of frozen encoders: projections into the shared space, then the fusion head, from features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resonance.export.graphs.fusion import FusionGraph
from resonance.space.descriptor import MODALITIES
from resonance.training.contrast import group_weights, info_nce, recall_by_group
from resonance.training.fairness import fairness_loss
from resonance.training.features import TitleFeatures
from resonance.training.fusion import FusionSettings, train_fusion
from resonance.training.loop import LoopSettings, Losses, train
from resonance.training.titles import TitleBlocks
from resonance.training.towers import Temperatures

#: Segments that recall is measured among, at most.
MOST_COMPARED = 4096
#: The fusion head tells the order of segments, and titles from one another: it needs stretches of so many
#: segments, and so many of them.
LEAST_STRETCH, LEAST_STRETCHES = 4, 4
PAIRS = tuple(combinations(range(len(MODALITIES)), 2))


class TooLittleError(ValueError):
    """There is too little to learn from; the message says what there is and what is needed."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """`balance`: the power of a group's inverse frequency that its rows are weighed by (`group_weights`);
    `fairness`: the weight of `fairness_loss`, of titles whose groups were audited."""

    loop: LoopSettings = field(default_factory=lambda: LoopSettings(steps=500, learning_rate=1e-3))
    batch: int = 1024
    hardness: float = 0.0
    balance: float = 0.0
    fairness: float = 0.0
    segments_per_title: int = 8
    fusion: FusionSettings = field(
        default_factory=lambda: FusionSettings(LoopSettings(steps=300, learning_rate=5e-4), titles=64)
    )


@dataclass(frozen=True, slots=True)
class TrainedHeads:
    """What training came to: the blocks of all segments, fp32 [R, 3, 596], and why the fusion head was not
    trained, "" where it was."""

    blocks: Tensor
    fusion_lacks: str


@dataclass(frozen=True, slots=True)
class Segments:
    """All segments of all titles in one place: features by modality fp32 [R, hidden], present bool [R, 3],
    groups int64 [R], audited int64 [R, G] (see `TitleFeatures`; G may be 0)."""

    features: tuple[Tensor, ...]
    present: Tensor
    groups: Tensor
    audited: Tensor

    @classmethod
    def of(cls, titles: list[TitleFeatures]) -> Segments:
        """Join titles."""
        names = sorted({t.group for t in titles})
        groups = np.concatenate([np.full(len(t.present), names.index(t.group)) for t in titles])
        lengths = [len(t.present) for t in titles]
        audited = np.repeat(np.array([t.audited for t in titles], np.int64), lengths, axis=0)  # (R, G)
        return cls(
            tuple(torch.from_numpy(np.concatenate([t.features[m] for t in titles])) for m in MODALITIES),
            torch.from_numpy(np.concatenate([t.present for t in titles])),
            torch.from_numpy(groups.astype(np.int64)),
            torch.from_numpy(audited),
        )


def project(projections: nn.ModuleList, features: tuple[Tensor, ...]) -> Tensor:
    """Features of R segments to unit blocks [R, 3, 596]."""
    blocks = [functional.normalize(p(f), dim=-1) for p, f in zip(projections, features, strict=True)]
    return torch.stack(blocks, dim=1)


def train_projections(
    projections: nn.ModuleList, segments: Segments, settings: HeadSettings, folder: Path, device: torch.device
) -> Path:
    """Train the three projections in place on what co-occurs in a segment; returns the log of losses.

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
            parts["fairness"] = fairness_loss(blocks, present, segments.audited[rows].to(device))
            total = total + settings.fairness * parts["fairness"]
        return {"loss": total, **parts}

    modules: dict[str, nn.Module] = {"projections": projections, "temperatures": temperatures}
    return train(modules, losses, settings.loop, folder, title="projections", device=device)


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
    """Both stages in place; the second only where the titles are long enough for it.

    Raises:
        TooLittleError: see `train_projections`.
    """
    segments = Segments.of(titles)
    train_projections(projections, segments, settings, folder / "projections", device)
    with torch.inference_mode():
        blocks = project(projections.cpu(), segments.features)
    blocks = blocks.clone()  # an inference tensor cannot be trained on
    chunks = title_chunks(titles, blocks, settings.segments_per_title)
    lacks = _fusion_lacks(titles, chunks)
    if chunks is not None and not lacks:
        train_fusion(fusion, chunks, settings.fusion, folder / "fusion", device=device)
    return TrainedHeads(blocks, lacks)


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


def group_recalls(blocks: Tensor, segments: Segments) -> dict[int, float]:
    """Recall@1 by group, the mean over the pairs of modalities; what re-balancing is judged by.

    Among at most `MOST_COMPARED` segments, drawn at random: a whole library would take longer to compare
    than to align.
    """
    return _means(
        recall_by_group(blocks[rows, a], blocks[rows, b], segments.groups[rows])
        for a, b, rows in _compared(segments)
    )


def chance_recalls(segments: Segments) -> dict[int, float]:
    """What guessing would reach in `group_recalls`: much, where few segments have two modalities."""
    return _means(
        dict.fromkeys(segments.groups[rows].unique().tolist(), 1.0 / len(rows))
        for _, _, rows in _compared(segments)
    )


def compared_counts(segments: Segments) -> dict[str, int]:
    """Segments that each pair of modalities is compared among, by "visual-audio" and such."""
    return {f"{MODALITIES[a]}-{MODALITIES[b]}": len(rows) for a, b, rows in _compared(segments)}


def _compared(segments: Segments) -> Iterator[tuple[int, int, Tensor]]:
    """Pairs of modalities, and the segments that have both, drawn at random."""
    drawn = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(segments.present)))
    for a, b in PAIRS:
        both = (segments.present[:, a] & segments.present[:, b])[drawn]
        rows = drawn[both][:MOST_COMPARED]
        if len(rows) >= 2:
            yield a, b, rows


def _means(pairs: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """By group, over the pairs that have it."""
    values: dict[int, list[float]] = {}
    for pair in pairs:
        for group, value in pair.items():
            values.setdefault(group, []).append(value)
    return {group: float(np.mean(found)) for group, found in values.items()}
