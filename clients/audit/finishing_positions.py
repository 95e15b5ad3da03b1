"""The chance that each position of a list is seen, fitted to clicks: once, and again for viewers drawn again.

Clicks at position k of score group g have the mean impressions * seen_k * wanted_g (Poisson). Its likelihood
is at the maximum where each of the two factors makes its own margin right, so that they are scaled in turn.
Within a group better scores still stand higher, and what is wanted more is taken for what is seen more: with
10 groups chances came out 1.2% too low, so there are more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from resonance.clients.audit.finishing_curves import IntArray, score_edges
from resonance.space.blocks import BoolArray, FloatArray

SCORE_GROUPS = 40
_ROUNDS, _TOLERANCE, _TOLERANCE_DRAWN = 2000, 1e-9, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class PositionFit:
    """Chances by position, and what they were fitted to.

    Attributes:
        codes: position of each row, int64 [R], as an index into `chances`.
        chances: of each position, relative to the first, [K]; NaN of one that has no row with a score.
        clip: chances below count as this, in weights.
        viewers: int64 [U], ascending. shown, clicks: of each, float64 [U, K * G].
    """

    codes: IntArray
    chances: FloatArray
    clip: float
    viewers: IntArray
    shown: csr_array
    clicks: csr_array

    def take(self, chosen: BoolArray) -> PositionFit:
        """Of some rows, bool [R]; what was fitted stays."""
        return replace(self, codes=self.codes[chosen])

    def moved(self, viewers: IntArray, counts: FloatArray) -> FloatArray:
        """Weights of positions fitted anew over those as they are, [B, K]; NaN in draws that have no click
        at the first position.

        Args:
            viewers: int64 [V], ascending, some of `self.viewers`.
            counts: how often each is in each draw, [B, V].
        """
        rows = np.searchsorted(self.viewers, viewers)
        groups = self.shown.shape[1] // len(self.chances)
        shown, clicks = (
            (counts @ table[rows]).reshape(len(counts), len(self.chances), groups)
            for table in (self.shown, self.clicks)
        )  # (B, K, G)
        fitted = _scaled(shown, clicks, self.chances, _TOLERANCE_DRAWN)
        now, then = clipped_chances(self.chances, self.clip), clipped_chances(fitted, self.clip)
        return np.where(np.isnan(self.chances), 1.0, now / then)


def fit_positions(
    *,
    users: IntArray,
    score: FloatArray,
    codes: IntArray,
    clicked: BoolArray,
    ranked: BoolArray,
    clip: float,
) -> PositionFit | str:
    """The fit of rows [R], or why there can be none.

    Args:
        codes: of positions, from 0 in their order. ranked: whether the row has a position.
    """
    used = ranked & np.isfinite(score)
    if clicked[used].all() or not clicked[used].any():
        return "the log has no rows that were shown and not clicked, or none that was clicked"
    edges = score_edges(score[used], SCORE_GROUPS)
    groups = np.searchsorted(edges, score[used], side="right")
    shape = (int(codes.max()) + 1, len(edges) + 1)
    viewers, own = np.unique(users[used], return_inverse=True)

    def table(values: FloatArray) -> csr_array:
        cells = codes[used] * shape[1] + groups
        return coo_array((values, (own, cells)), shape=(len(viewers), shape[0] * shape[1])).tocsr()

    shown, clicks = table(np.ones(int(used.sum()))), table(clicked[used].astype(np.float64))
    all_shown, all_clicks = (np.asarray(one.sum(axis=0)).reshape(shape) for one in (shown, clicks))
    if not _connected(all_shown):
        return "scores and positions do not cross: some position shows scores that no other shows"
    there = all_shown.sum(axis=1) > 0
    if all_clicks[np.flatnonzero(there)[0]].sum() <= 0:
        return "nothing at the first position was clicked"
    start = np.where(there, 1.0, np.nan)
    chances = _scaled(all_shown[None], all_clicks[None], start, _TOLERANCE)[0]
    return PositionFit(codes, chances, clip, viewers, shown, clicks)


def clipped_chances(chances: FloatArray, clip: float) -> FloatArray:
    """From `clip` to 1: a later position may come out as seen more often than the first."""
    return np.clip(chances, clip, 1.0)


def _scaled(shown: FloatArray, clicks: FloatArray, start: FloatArray, tolerance: float) -> FloatArray:
    """The chance of each position, relative to the first that has a row, [B, K] of counts [B, K, G].

    Args:
        start: to begin with, [K]; NaN of positions without a row, which stay so.
    """
    there = np.isfinite(start)
    at_position, in_group = clicks.sum(axis=2), clicks.sum(axis=1)  # (B, K), (B, G)
    seen = np.tile(np.where(there, start, 0.0), (len(shown), 1))  # (B, K)
    first = int(np.flatnonzero(there)[0])
    for _ in range(_ROUNDS):
        wanted = in_group / np.maximum(np.einsum("bk,bkg->bg", seen, shown), 1e-300)
        before = seen
        seen = at_position / np.maximum(np.einsum("bkg,bg->bk", shown, wanted), 1e-300)
        with np.errstate(invalid="ignore", divide="ignore"):
            seen = seen / seen[:, [first]]
        if not np.abs(seen - before)[np.isfinite(seen).all(axis=1)].max(initial=0.0) >= tolerance:
            break
    return np.where(there, seen, np.nan)


def _connected(shown: FloatArray) -> bool:
    """Whether all positions can be compared by way of score groups that they have in common."""
    positions, groups = np.nonzero(shown)
    size = sum(shown.shape)
    graph = coo_array((np.ones(len(positions)), (positions, groups + shown.shape[0])), shape=(size, size))
    _, parts = connected_components(graph, directed=False)
    return len(np.unique(parts[positions])) <= 1
