"""Recall across modalities of the same segments in two spaces, by group, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.estimates import DRAWS, Estimate, of_draws
from resonance.clients.discovery.rows import segments_of
from resonance.clients.ingest.stores import open_store
from resonance.space.blocks import ROOT_BLOCKS, BoolArray, FloatArray
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES

#: Titles whose segments are compared, and segments of each, at most: 28 MB a store.
MOST_TITLES, SEGMENTS_A_TITLE = 1000, 4
PAIRS = tuple(combinations(range(len(MODALITIES)), 2))
#: Cosines this near each other are equal: sums of equal rows may differ by their order in float32.
TIED = 1e-6

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RecallChange:
    """Recall@1 of one modality by another among the segments, a mean over the pairs of modalities.

    Attributes:
        before, after, change: of all segments; the change is that of the same segments.
        group_before, group_after, others_before, others_after: of the titles of a group and of all others;
            None where no group was named, or one of the two has no segment.
        gap_before, gap_after: the group's less the others'. None: as above.
    """

    segments: int
    titles: int
    before: Estimate
    after: Estimate
    change: Estimate
    group_before: Estimate | None = None
    group_after: Estimate | None = None
    others_before: Estimate | None = None
    others_after: Estimate | None = None
    gap_before: Estimate | None = None
    gap_after: Estimate | None = None


def measure_recall(
    before: str,
    after: str,
    media_ids: Sequence[str],
    group: FloatArray | None,
    chance: np.random.Generator,
) -> RecallChange | None:
    """Of segments that both stores have, of up to `MOST_TITLES` titles. Blocks.

    Args:
        group: of each title, [N]: 1 of the group, 0 of another, NaN not known.

    Raises:
        StoreError: a store cannot be read.
    """
    drawn = np.sort(chance.permutation(len(media_ids))[:MOST_TITLES])
    place = {media_ids[at]: int(at) for at in drawn}
    stored = [_segments(uri, list(place)) for uri in (before, after)]
    keys = sorted(stored[0].keys() & stored[1].keys())
    if not keys:
        return None
    hits = [_hits([of[key] for key in keys]) for of in stored]  # two of (R,)
    usable = ~np.isnan(hits[0]) & ~np.isnan(hits[1])
    if not usable.any():
        return None
    names, owners = np.unique(np.array([key[0] for key in keys])[usable], return_inverse=True)
    table = _Titles(len(names), owners, np.stack([one[usable] for one in hits]), chance)
    old, new = table.recalls(np.ones(len(names), np.bool_))
    by_group: dict[str, Estimate] = {}
    if group is not None:
        of = np.array([group[place[name]] for name in names])
        if (of == 1).any() and (of == 0).any():
            mine, others = table.recalls(of == 1), table.recalls(of == 0)
            for at, when in enumerate(("before", "after")):
                by_group[f"group_{when}"] = of_draws(mine[at])
                by_group[f"others_{when}"] = of_draws(others[at])
                by_group[f"gap_{when}"] = of_draws(mine[at] - others[at])
    return RecallChange(
        int(usable.sum()), len(names), of_draws(old), of_draws(new), of_draws(new - old), **by_group
    )


class _Titles:
    """Hits summed by title, and draws of titles: segments of one title are alike, so titles are drawn."""

    def __init__(
        self, titles: int, owners: NDArray[np.int64], hits: FloatArray, chance: np.random.Generator
    ) -> None:
        self._sums = np.stack([np.bincount(owners, row, minlength=titles) for row in hits])  # (2, T)
        self._counts = np.bincount(owners, minlength=titles).astype(np.float64)
        weights = chance.multinomial(titles, np.full(titles, 1 / titles), DRAWS)
        self._weights = np.concatenate(
            [np.ones((1, titles)), weights]
        )  # (1 + DRAWS, T); the first: as they are

    def recalls(self, chosen: BoolArray) -> FloatArray:
        """Recall of both stores, float64 [2, 1 + DRAWS], of some titles; the same draws each time."""
        weights = self._weights * chosen
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums @ weights.T / (weights @ self._counts))


def _segments(uri: str, media_ids: Sequence[str]) -> dict[Key, tuple[NDArray[np.float32], BoolArray]]:
    """Unit blocks [3, 596] and which are present [3], by title and number of the segment."""
    found = {}
    with closing(open_store(uri)) as store:
        for batch in store.find(media_ids, ["media_id", "segments"]):
            for name, parts in zip(batch["media_id"].to_pylist(), batch["segments"], strict=True):
                segments = segments_of(parts.values)
                step = max(len(segments) / SEGMENTS_A_TITLE, 1.0)
                for at in np.arange(0, len(segments), step).astype(int)[:SEGMENTS_A_TITLE]:
                    segment = segments[at]
                    blocks = segment.vector.reshape(len(MODALITIES), BLOCK_WIDTH) * np.float32(ROOT_BLOCKS)
                    found[name, segment.index] = (blocks, np.array(segment.present))
    return found


def _hits(rows: Sequence[tuple[NDArray[np.float32], BoolArray]]) -> FloatArray:
    """Of each segment, float64 [R], the share of its pairs of modalities in which the second one nearest to
    the first is its own; NaN where fewer than two are present.

    Of n nearest that are equal, such as copies of one film, its own counts 1/n, as in training
    (`resonance.training.contrast.recall_hits`): the first of them would be found and the others never, so
    that their order would make a gap between groups.
    """
    blocks, present = (np.stack(column) for column in zip(*rows, strict=True))  # (R, 3, 596), (R, 3)
    hits = np.full((len(PAIRS), len(blocks)), np.nan)
    for pair, (a, b) in enumerate(PAIRS):
        both = np.flatnonzero(present[:, a] & present[:, b])
        if len(both) > 1:
            similarity = blocks[both, a] @ blocks[both, b].T  # (n, n)
            nearest = similarity >= similarity.max(axis=1, keepdims=True) - np.float32(TIED)
            hits[pair, both] = nearest.diagonal() / nearest.sum(axis=1)
    counted = (~np.isnan(hits)).sum(0)
    return np.where(counted > 0, np.nansum(hits, axis=0) / np.maximum(counted, 1), np.nan)
