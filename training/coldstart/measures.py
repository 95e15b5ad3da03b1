"""What a ranking found, and what its lists are made of; each by viewer or by viewing, to be resampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from resonance.training.coldstart.result import AUC, NDCG, RECALL, Reliability
from resonance.training.coldstart.splitting import Rows

Floats = NDArray[np.float64]
#: (viewers [B], titles [T]) -> scores float32 [B, T].
Scorer = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]

#: Numbers that are ranked at once.
_CELLS = 4_000_000
#: Of Steck 2018: so much of the history is mixed into the list, so that no logarithm is of 0.
_STECK_ALPHA = 0.01
#: A list that shares nothing with the history: its divergence is the logarithm of what was mixed in.
MOST_MISCALIBRATION = -math.log(_STECK_ALPHA)
_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Viewings:
    """Pairs that should be found: each viewer and title once, of viewers 0..U-1.

    Attributes:
        viewers: int64 [P], ascending. titles: int64 [P].
    """

    viewers: NDArray[np.int64]
    titles: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_]) -> Viewings:
        """Some of them, by a mask [P]."""
        return Viewings(self.viewers[chosen], self.titles[chosen])

    def counts(self, viewers: int) -> NDArray[np.int64]:
        """Of each viewer, int64 [U]."""
        return np.bincount(self.viewers, minlength=viewers)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Titles of a pool, ranked for each viewer.

    Attributes:
        places: of the viewings, from 1, int64 [P]. candidates: titles that were ranked, int64 [U].
        lists: the first k titles of each viewer, int64 [U, k]; -1 where there are no more.
        expected: chance of each pair of viewer and candidate by the scores, float32 [C], in the order of
            viewers and titles; `came`: whether it is one of the viewings that should be found, bool [C], and
            `of`: whose pair it is. A title that the viewer began and left did not come.
    """

    places: NDArray[np.int64]
    candidates: NDArray[np.int64]
    lists: NDArray[np.int64]
    expected: NDArray[np.float32]
    came: NDArray[np.bool_]
    of: NDArray[np.int64]


def rank(
    scorer: Scorer,
    users: NDArray[np.int64],
    pool: NDArray[np.int64],
    seen: Viewings,
    viewings: Viewings,
    *,
    k: int,
    seed: int,
    chances: bool,
) -> Ranking:
    """Rank a pool for viewers; equal scores come in random order, anew for each viewer.

    Args:
        users: the viewers as the scorer knows them, int64 [U]. pool: titles, ascending, int64 [T].
        seen: what each had watched and is not ranked. viewings: titles of the pool.
        chances: whether `expected` and what belongs to it are wanted; else they are empty.
    """
    rng = np.random.default_rng([seed, 3])
    column = np.full(int(max(pool.max(), seen.titles.max(initial=0), viewings.titles.max(initial=0))) + 1, -1)
    column[pool] = np.arange(len(pool))
    places = np.empty(len(viewings.viewers), np.int64)
    lists = np.full((len(users), k), -1, np.int64)
    candidates = np.empty(len(users), np.int64)
    parts: list[tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]] = []
    at_once = max(1, _CELLS // len(pool))
    for first in range(0, len(users), at_once):
        chunk = users[first : first + at_once]
        scores = scorer(chunk, pool)  # (B, T)
        free = np.ones(scores.shape, np.bool_)
        free[_cells(seen, first, len(chunk), column)] = False
        ordered = _ordered(np.where(free, scores, -np.inf), rng)  # columns, best first
        place = np.empty(ordered.shape, np.int64)
        np.put_along_axis(place, ordered, np.arange(1, len(pool) + 1)[None], axis=1)
        candidates[first : first + len(chunk)] = free.sum(axis=1)
        best = pool[ordered[:, :k]]
        best[np.arange(best.shape[1]) >= free.sum(axis=1)[:, None]] = -1
        lists[first : first + len(chunk), : best.shape[1]] = best
        low, high = np.searchsorted(viewings.viewers, [first, first + len(chunk)])
        mine = _cells(viewings, first, len(chunk), column)
        places[low:high] = place[mine]
        if chances:
            came = np.zeros(scores.shape, np.bool_)
            came[mine] = True
            owners = np.broadcast_to(first + np.arange(len(chunk))[:, None], scores.shape)
            parts.append((_softmax(scores, free)[free], came[free], owners[free]))
    empty = (np.empty(0, np.float32), np.empty(0, np.bool_), np.empty(0, np.int64))
    expected, came_all, of = (np.concatenate(found) for found in zip(*(parts or [empty]), strict=True))
    return Ranking(places, candidates, lists, expected, came_all, of)


def _cells(pairs: Viewings, first: int, count: int, column: Rows) -> tuple[Rows, Rows]:
    """Pairs of viewers first..first+count-1 whose title has a column, as indices of a block [count, T]."""
    low, high = np.searchsorted(pairs.viewers, [first, first + count])
    at = column[pairs.titles[low:high]]
    return pairs.viewers[low:high][at >= 0] - first, at[at >= 0]


def _ordered(scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Columns of [B, T] by score, the best first, equal ones at random."""
    shuffled = rng.permuted(np.broadcast_to(np.arange(scores.shape[1]), scores.shape), axis=1)
    order = np.argsort(-np.take_along_axis(scores, shuffled, axis=1), axis=1, kind="stable")
    return np.take_along_axis(shuffled, order, axis=1)


def _softmax(scores: NDArray[np.float32], free: NDArray[np.bool_]) -> NDArray[np.float32]:
    masked = np.where(free, scores, -np.inf)
    raised = np.exp(masked - np.max(masked, axis=1, keepdims=True, initial=-1e30))
    return raised / np.maximum(raised.sum(axis=1, keepdims=True), 1e-30)


def found(ranking: Ranking, viewings: Viewings, chosen: NDArray[np.bool_], k: int) -> dict[str, Floats]:
    """What each of the chosen viewings adds to its viewer's measure, float64 [p] by measure.

    A viewer's measure is the sum over the viewer's viewings of what is given here; see `shares` for the mean:

    - recall@k: places up to k, over min(k, n), so that 1 can be reached (Liang et al. 2018).
    - NDCG@k with gains of 0 and 1 (Järvelin and Kekäläinen 2002).
    - AUC: of the viewer's candidates that are none of the viewings, those that stand below. What the viewer
      began and left is among them.

    Args:
        viewings: all of the pool; what AUC has below does not depend on which are `chosen` [P].
    """
    viewers = len(ranking.candidates)
    mine = viewings.take(chosen)
    n = mine.counts(viewers)[mine.viewers]  # (p)
    places = ranking.places[chosen]
    listed = places <= k
    best = np.cumsum(1 / np.log2(np.arange(2, k + 2)))  # of 1..k viewings
    above = _viewed_above(ranking.places, viewings)[chosen]
    others = (ranking.candidates - viewings.counts(viewers))[mine.viewers]
    auc = 1 - (places - 1 - above) / np.maximum(others, 1)
    return {
        RECALL: listed / np.minimum(k, n),
        NDCG: listed / np.log2(places + 1) / best[np.minimum(k, n) - 1],
        AUC: auc / n,
    }


def shares(viewings: Viewings, viewers: int) -> Floats:
    """1 over the viewings of the same viewer, float64 [p]: their sum is the number of viewers."""
    return 1 / viewings.counts(viewers)[viewings.viewers]


def _viewed_above(places: NDArray[np.int64], viewings: Viewings) -> NDArray[np.int64]:
    """How many viewings of the same viewer stand above each, int64 [P]."""
    order = np.lexsort((places, viewings.viewers))
    starts = np.searchsorted(viewings.viewers, viewings.viewers)  # ascending viewers: the first of each
    above = np.empty(len(places), np.int64)
    above[order] = np.arange(len(places)) - starts
    return above


def chance_recall(candidates: NDArray[np.int64], viewings: Viewings, k: int) -> float:
    """Mean recall@k of lists in random order; candidates: of each viewer, [U]."""
    n = viewings.counts(len(candidates))
    some = n > 0
    listed = np.minimum(k / candidates[some], 1)
    return float(np.mean(listed * n[some] / np.minimum(k, n[some])))


def head_titles(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The fewest titles that have half of all viewings, bool [N]; counts: viewings of each, [N]."""
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), np.bool_)
    head[order] = (before < counts.sum() / 2) & (counts[order] > 0)
    return head


def exposure(lists: NDArray[np.int64], titles: NDArray[np.bool_]) -> Floats:
    """The share of each viewer's list that goes to some titles, float64 [U]; lists [U, k], titles [N]."""
    there = lists >= 0
    return (titles[lists] & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def miscalibration(
    history: Floats | sparse.csr_matrix, lists: NDArray[np.int64], tags: NDArray[np.float32]
) -> Floats:
    """How far each list departs from its viewer's history in tags, float64 [U]; NaN without a tag there.

    Steck, "Calibrated Recommendations", RecSys 2018: KL(p, q') with p the history's tags and
    q' = 0.99 q + 0.01 p, q the list's; a title's tags share it evenly. 0: the list is as the history is.

    Args:
        history: how much each title counts, [U, N], an array or a sparse matrix.
        lists: int64 [U, k]. tags: 0 or 1, [N, G].
    """
    each = (tags / np.maximum(tags.sum(axis=1, keepdims=True), 1)).astype(np.float64)  # (N, G)
    p = history @ each
    known = p.sum(axis=1) > 0
    p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-30)
    there = lists >= 0
    rows = np.repeat(np.arange(len(lists)), there.sum(axis=1))
    chosen = sparse.csr_matrix((np.ones(len(rows)), (rows, lists[there])), (len(lists), len(tags)))  # (U, N)
    q = np.asarray(chosen @ each)  # (U, G)
    q /= np.maximum(q.sum(axis=1, keepdims=True), 1e-30)
    mixed = (1 - _STECK_ALPHA) * q + _STECK_ALPHA * p
    ratio = np.divide(p, mixed, out=np.ones_like(p), where=p > 0)
    return np.where(known, (p * np.log(ratio)).sum(axis=1), np.nan)


def reliability(ranking: Ranking, viewings: Viewings) -> Reliability:
    """Viewings expected against those that came, of pairs of viewer and candidate, in ten groups at most: of
    `viewings` alone, without those of a title that was begun and left.

    A pair's expectation is the candidate's share of exp(score) times the viewings that its viewer has.
    """
    n = viewings.counts(len(ranking.candidates))
    some = n[ranking.of] > 0
    expected = (ranking.expected * n[ranking.of])[some].astype(np.float64)
    came = ranking.came[some].astype(np.float64)
    edges = np.quantile(expected, np.linspace(0, 1, _GROUPS + 1)[1:-1]) if len(expected) else np.empty(0)
    group = np.searchsorted(edges, expected, side="right")  # equal expectations stay together
    sizes = np.bincount(group, minlength=_GROUPS)
    sums = [np.bincount(group, values, minlength=_GROUPS) for values in (expected, came)]
    error = float(np.abs(sums[0] - sums[1]).sum() / max(came.sum(), 1.0))
    there = sizes > 0
    means = [total[there] / sizes[there] for total in sums]
    return Reliability(means[0], means[1], error)
