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


def pair_recalls(blocks: Tensor, segments: Segments) -> dict[str, dict[int, float]]:
    """Recall@1 of blocks [R, 3, 596] by pair of modalities, "visual-audio" and such, and group.

    Among at most `MOST_COMPARED` segments, drawn at random: a whole library would take longer to compare
    than to align.
    """
    return {
        _name(a, b): recall_by_group(blocks[rows, a], blocks[rows, b], segments.groups[rows])
        for a, b, rows in _compared(segments)
    }


def means(recalls: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """By group, over the pairs that have it."""
    values: dict[int, list[float]] = {}
    for pair in recalls:
        for group, value in pair.items():
            values.setdefault(group, []).append(value)
    return {group: float(np.mean(found)) for group, found in values.items()}


def group_recalls(blocks: Tensor, segments: Segments) -> dict[int, float]:
    """`pair_recalls` by group, the mean over the pairs that the group has. What groups have in common is
    compared over `shared_pairs`."""
    return means(pair_recalls(blocks, segments).values())


def mean_recall(blocks: Tensor, segments: Segments, *, balance: float = 0.0) -> float:
    """Recall@1 over all groups and pairs, the mean over the rows of all pairs: of the few rows that a rare
    pair may have, each is a large step, and would tell the pair's recall as surely as of many.

    Args:
        balance: see `group_weights`; within a pair rows weigh what they weigh in the loss.
    """
    found = []
    for a, b, rows in _compared(segments):
        weights = group_weights(segments.groups[rows], balance)  # of mean 1: a pair counts as its rows do
        found.append(recall_hits(blocks[rows, a], blocks[rows, b]) * weights)
    return float(torch.cat(found).mean())


def chance_recalls(segments: Segments) -> dict[int, float]:
    """What guessing would reach in `group_recalls`: much, where few segments have two modalities."""
    return means(
        dict.fromkeys(segments.groups[rows].unique().tolist(), 1.0 / len(rows))
        for _, _, rows in _compared(segments)
    )


def compared_counts(segments: Segments) -> dict[str, int]:
    """Segments that each pair of modalities is compared among, by "visual-audio" and such."""
    return {_name(a, b): len(rows) for a, b, rows in _compared(segments)}


def shared_pairs(segments: Segments) -> tuple[str, ...]:
    """The pairs that every group has in `LEAST_OF_GROUP` segments: of those all groups answer the same
    questions among the same rivals."""
    groups, found = len(segments.groups.unique()), []
    for a, b, rows in _compared(segments):
        counts = segments.groups[rows].unique(return_counts=True)[1]
        if len(counts) == groups and int(counts.min()) >= LEAST_OF_GROUP:
            found.append(_name(a, b))
    return tuple(found)


def _compared(segments: Segments) -> Iterator[Compared]:
    """Pairs of modalities, and the segments that have both, drawn at random."""
    drawn = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(segments.present)))
    drawn = drawn.to(segments.present.device)
    for a, b in PAIRS:
        both = (segments.present[:, a] & segments.present[:, b])[drawn]
        rows = drawn[both][:MOST_COMPARED]
        if len(rows) >= 2:
            yield a, b, rows


def _name(a: int, b: int) -> str:
    return f"{MODALITIES[a]}-{MODALITIES[b]}"
