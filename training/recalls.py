"""Recall@1 of one modality by another within segments: what an alignment is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from resonance.space.descriptor import MODALITIES
from resonance.training.contrast import group_weights, recall_by_group, recall_hits
from resonance.training.segments import PAIRS, Segments

#: Segments that recall is measured among, at most.
MOST_COMPARED = 4096
#: Segments with a pair of modalities that each group must have for groups to be compared by that pair.
LEAST_OF_GROUP = 10

#: Two modalities by their places, and the segments that have both.
Compared = tuple[int, int, Tensor]


def group_recalls(blocks: Tensor, segments: Segments) -> dict[int, float]:
    """Recall@1 of blocks [R, 3, 596] by group, the mean over the pairs of modalities that the group has.

    Among at most `MOST_COMPARED` segments, drawn at random: a whole library would take longer to compare
    than to align. What groups have in common is compared by `shared_recalls`.
    """
    return _means(_by_group(blocks, segments, _compared(segments)))


def shared_recalls(blocks: Tensor, segments: Segments) -> dict[int, float]:
    """The same over the pairs that every group has in `LEAST_OF_GROUP` segments: of those all groups answer
    the same questions among the same rivals. Empty where there is no such pair."""
    return _means(_by_group(blocks, segments, _shared(segments)))


def mean_recall(blocks: Tensor, segments: Segments, *, balance: float = 0.0) -> float:
    """Recall@1 over all groups, the mean over the pairs; rows weigh what they weigh in the loss.

    Args:
        balance: see `group_weights`.
    """
    found = []
    for a, b, rows in _compared(segments):
        weights = group_weights(segments.groups[rows], balance)
        found.append(float((recall_hits(blocks[rows, a], blocks[rows, b]) * weights).mean()))
    return float(np.mean(found))


def chance_recalls(segments: Segments) -> dict[int, float]:
    """What guessing would reach in `group_recalls`: much, where few segments have two modalities."""
    return _means(
        dict.fromkeys(segments.groups[rows].unique().tolist(), 1.0 / len(rows))
        for _, _, rows in _compared(segments)
    )


def compared_counts(segments: Segments) -> dict[str, int]:
    """Segments that each pair of modalities is compared among, by "visual-audio" and such."""
    return {_name(a, b): len(rows) for a, b, rows in _compared(segments)}


def shared_pairs(segments: Segments) -> tuple[str, ...]:
    """Names of the pairs of `shared_recalls`."""
    return tuple(_name(a, b) for a, b, _ in _shared(segments))


def _compared(segments: Segments) -> Iterator[Compared]:
    """Pairs of modalities, and the segments that have both, drawn at random."""
    drawn = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(segments.present)))
    drawn = drawn.to(segments.present.device)
    for a, b in PAIRS:
        both = (segments.present[:, a] & segments.present[:, b])[drawn]
        rows = drawn[both][:MOST_COMPARED]
        if len(rows) >= 2:
            yield a, b, rows


def _shared(segments: Segments) -> Iterator[Compared]:
    groups = len(segments.groups.unique())
    for a, b, rows in _compared(segments):
        counts = segments.groups[rows].unique(return_counts=True)[1]
        if len(counts) == groups and int(counts.min()) >= LEAST_OF_GROUP:
            yield a, b, rows


def _by_group(blocks: Tensor, segments: Segments, pairs: Iterable[Compared]) -> Iterator[dict[int, float]]:
    for a, b, rows in pairs:
        yield recall_by_group(blocks[rows, a], blocks[rows, b], segments.groups[rows])


def _means(pairs: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """By group, over the pairs that have it."""
    values: dict[int, list[float]] = {}
    for pair in pairs:
        for group, value in pair.items():
            values.setdefault(group, []).append(value)
    return {group: float(np.mean(found)) for group, found in values.items()}


def _name(a: int, b: int) -> str:
    return f"{MODALITIES[a]}-{MODALITIES[b]}"
