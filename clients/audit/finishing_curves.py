"""Completion against score: a curve by groups of the score, rank correlations, intervals over viewers.

Rows of one viewer resemble each other, so viewers are drawn, not rows: each draw takes as many viewers as
there are, with replacement, each with all rows (the cluster bootstrap: Davison and Hinkley, "Bootstrap
Methods and their Application", 1997, section 3.8). What is said of single titles is drawn over titles as
well, a row counting as often as its viewer times as often as its title (the pigeonhole bootstrap: Owen,
Annals of Applied Statistics 1, 2007). In a curve's draws weights that were fitted are fitted again; in those
of correlations they are those of the whole log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from resonance.clients.audit.two_way import quantile
from resonance.space.blocks import BoolArray, FloatArray

IntArray = NDArray[np.int64]

GROUPS = 10
_AT_ONCE = 100
_WHOLE = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval and what it would be were all rows to count alike.

    Attributes:
        interval: 95%, or what a corrected one says it is.
    """

    value: float
    interval: tuple[float, float]
    unweighted: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """An outcome by groups of the score, the lowest first; all [G].

    Attributes:
        score: mean of the group. rows: how many it has.
        value, low, high: weighted, with its interval. unweighted: all rows alike.
        all: of all groups together. rise: highest group less the lowest.
    """

    score: FloatArray
    rows: IntArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    unweighted: FloatArray
    all: Estimate
    rise: Estimate


def score_edges(score: FloatArray, wanted: int = GROUPS) -> FloatArray:
    """Where scores are cut into groups of about as many rows, ascending; fewer where many are equal."""
    edges: FloatArray = np.unique(np.quantile(score, np.linspace(0, 1, wanted + 1)[1:-1]))
    return edges


def score_groups(score: FloatArray) -> IntArray:
    """The group of each row by its score, int64 [R], about as many rows each; fewer where scores are equal.

    Rows of one score are in one group.
    """
    codes = np.searchsorted(score_edges(score), score, side="left")
    return np.asarray(np.unique(codes, return_inverse=True)[1], np.int64)


class Refit(Protocol):
    """Weights that were fitted by position, which is a code of each row.

    codes: int64 [R], below K.
    """

    @property
    def codes(self) -> IntArray: ...

    def moved(self, viewers: IntArray, counts: FloatArray) -> FloatArray:
        """Weights of draws over those of the whole log, [B, K].

        Args:
            viewers: int64 [V], ascending. counts: how often each is in each draw, [B, V].
        """
        ...


def curve(
    score: FloatArray,
    groups: IntArray,
    users: IntArray,
    outcome: FloatArray,
    weights: FloatArray,
    counted: BoolArray,
    *,
    clicked: BoolArray | None = None,
    draws: int,
    seed: int,
    refit: Refit | None = None,
) -> Curve:
    """sum w y / sum w by group, over rows [R] that are counted: the mean outcome of what was clicked.

    With `clicked` it is the mean of what is seen, of which a row that was not clicked has 0: that ratio,
    times sum w over the clicked rows / number of all rows. Each factor has the rows that know it, so that
    clicks of unknown outcome make clicking no rarer; where all are known it is sum w y / number of rows.

    Args:
        outcome: y. weights: w. counted: rows of which y is known; of `clicked`, where that is given.
        refit: of the weights; None where they are not fitted.
    """
    number = int(groups.max()) + 1
    ids, viewers = np.unique(users, return_inverse=True)
    codes = np.zeros_like(viewers) if refit is None else refit.codes
    positions = int(codes.max()) + 1
    weighed = np.where(counted, outcome * weights, 0.0)
    cells = groups * positions + codes

    def by_viewer(values: FloatArray) -> csr_array:
        shape = (len(ids), number * positions)
        return coo_array((values, (viewers, cells)), shape=shape).tocsr()  # (U, G * K)

    sums = [by_viewer(weighed), by_viewer(np.where(counted, weights, 0.0))]
    shown = None
    if clicked is not None:
        sums.append(by_viewer(np.where(clicked, weights, 0.0)))
        shown = by_viewer(np.ones(len(weights)))

    def figures(counts: FloatArray, ratio: FloatArray) -> FloatArray:
        """[B, U] and [B, K] -> [B, G + 2]."""
        shape = (len(counts), number, positions)
        found = [np.einsum("bgk,bk->bg", (counts @ one).reshape(shape), ratio) for one in sums]
        if shown is not None:
            found.append((counts @ shown).reshape(shape).sum(axis=2))
        return _figures(*found)

    drawn = []
    for counts in viewer_draws(len(ids), draws, seed):
        ratio = np.ones((len(counts), positions))
        if refit is not None:
            ratio = refit.moved(ids, counts)[:, :positions]
        drawn.append(figures(counts, ratio))
    value = figures(np.ones((1, len(ids))), np.ones((1, positions)))[0]
    rows = np.bincount(groups, minlength=number)
    alike = [np.where(counted, outcome, 0.0), counted]
    if clicked is not None:
        alike += [clicked, np.ones(len(weights))]
    sums_alike = [np.bincount(groups, column, number).astype(np.float64)[None] for column in alike]
    plain = _figures(*sums_alike)[0]
    low, high = percentile_interval(np.concatenate(drawn))
    last = [
        Estimate(float(value[at]), (float(low[at]), float(high[at])), float(plain[at]))
        for at in (number, number + 1)
    ]
    return Curve(
        score=np.bincount(groups, score, minlength=number) / rows,
        rows=rows,
        value=value[:number],
        low=low[:number],
        high=high[:number],
        unweighted=plain[:number],
        all=last[0],
        rise=last[1],
    )


def _figures(
    above: FloatArray, below: FloatArray, clicks: FloatArray | None = None, rows: FloatArray | None = None
) -> FloatArray:
    """Ratios by group, of all groups together, and of the last less the first: [B, G] to [B, G + 2].

    Args:
        clicks, rows: where both are given, their ratio is a factor, and 0 makes the figure 0.
    """

    def with_whole(sums: FloatArray) -> FloatArray:
        return np.column_stack([sums, sums.sum(axis=1)])  # (B, G + 1)

    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = with_whole(above) / with_whole(below)
        if clicks is not None and rows is not None:
            clicked = with_whole(clicks) / with_whole(rows)
            ratios = np.where(clicked == 0, 0.0, clicked * ratios)  # nothing clicked: nothing was watched
    return np.column_stack([ratios, ratios[:, -2] - ratios[:, 0]])


def viewer_draws(viewers: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """How often each viewer is in each draw, float64 [b, U], until there were `draws`."""
    rng = np.random.default_rng([seed, viewers])
    for first in range(0, draws, _AT_ONCE):
        size = min(_AT_ONCE, draws - first)
        yield rng.multinomial(viewers, np.full(viewers, 1 / viewers), size=size).astype(np.float64)


def percentile_interval(drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The central 95% of each column of draws [B, C]; draws without a figure are left out."""
    columns = [column[np.isfinite(column)] for column in drawn.T]
    bounds = [np.quantile(c, [0.025, 0.975]) if len(c) else np.full(2, np.nan) for c in columns]
    return np.array([b[0] for b in bounds]), np.array([b[1] for b in bounds])


class Ranks:
    """Values [R], sorted once: their weighted ranks are quick for any weights."""

    def __init__(self, values: FloatArray) -> None:
        self._codes = np.unique(values, return_inverse=True)[1]

    def of(self, weights: FloatArray) -> FloatArray:
        """The weight below each value and half of that at it, as a share of all: float64 [R]."""
        at = np.bincount(self._codes, weights)
        upto = np.cumsum(at)
        middle: FloatArray = (upto - at / 2) / upto[-1]
        return middle[self._codes]


def weighted_correlation(x: FloatArray, y: FloatArray, weights: FloatArray) -> float:
    """Pearson's correlation of [R]; NaN where either does not vary."""
    total = weights.sum()
    dx, dy = x - (weights @ x) / total, y - (weights @ y) / total
    wx = weights * dx
    spread = np.sqrt((wx @ dx) * (weights @ (dy * dy)))
    return float(wx @ dy / spread) if spread > 1e-12 * total else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Rows of which correlations are taken, all [R]: who, what, how far (`outcome`), how much it counts."""

    users: IntArray
    titles: IntArray
    outcome: FloatArray
    weights: FloatArray


def rank_correlations(
    pairs: Pairs,
    columns: Sequence[FloatArray],
    *,
    draws: int,
    seed: int,
    over_titles: bool = False,
    tests: int = 1,
    told: Callable[[int], None] | None = None,
) -> list[Estimate]:
    """Spearman's correlation of the outcome with each column [R], weighted; NaN in a column does not count.

    A single one over viewers has the interval of the percentiles. Of `tests` at once, or over titles, each
    has Student's at 1 - 0.05 / tests, so that all of them hold together with 95% (Bonferroni), with one
    degree of freedom less than there are viewers, or titles where they are drawn and fewer (Cameron and
    Miller, "A Practitioner's Guide to Cluster-Robust Inference", Journal of Human Resources 50, 2015). Its
    spread is that of the draws on the scale of Fisher's z (Metron 1, 1921), arctanh of the correlation: of
    few titles, one that came out large by chance has a small spread on its own scale, and would be sure for
    that.

    Args:
        over_titles: draw titles too; needed where a column is the title's or has much of it, since titles
            differ in how far they are watched. told: how many draws of a column are done.
    """
    found = []
    done = 0
    for column in columns:
        rows = np.flatnonzero(np.isfinite(column))
        if len(rows) < 3:
            found.append(Estimate(np.nan, (np.nan, np.nan), np.nan))
            continue
        x, y, base = Ranks(column[rows]), Ranks(pairs.outcome[rows]), pairs.weights[rows]
        _, users = np.unique(pairs.users[rows], return_inverse=True)
        _, titles = np.unique(pairs.titles[rows], return_inverse=True)

        def at(weights: FloatArray, x: Ranks = x, y: Ranks = y) -> float:
            return weighted_correlation(x.of(weights), y.of(weights), weights)

        clusters = [int(codes.max()) + 1 for codes in ((users, titles) if over_titles else (users,))]
        rng = np.random.default_rng([seed, 1])
        drawn = []
        for counts in viewer_draws(clusters[0], draws, seed):
            for often in counts:
                weights = base * often[users]
                if over_titles:
                    chances = np.full(clusters[1], 1 / clusters[1])
                    weights = weights * rng.multinomial(clusters[1], chances)[titles]
                drawn.append(at(weights))
            done += len(counts)
            if told is not None:
                told(done)
        value, spread = at(base), np.array(drawn)
        if tests == 1 and not over_titles:
            low, high = percentile_interval(spread[:, None])
            interval = float(low[0]), float(high[0])
        else:
            interval = _students(value, spread, quantile(min(clusters), tests))
        found.append(Estimate(value, interval, at(np.ones(len(rows)))))
    return found


def _students(value: float, drawn: FloatArray, factor: float) -> tuple[float, float]:
    """A correlation give or take so many times the spread of its draws, as Fisher's z; NaN where none is
    known."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    half = factor * float(_fisher(known).std())
    middle = float(_fisher(value))
    return float(np.tanh(middle - half)), float(np.tanh(middle + half))


def _fisher(correlation: FloatArray | float) -> FloatArray:
    """Its z; of correlations of 1 as well, which draws of few titles may have, a finite one."""
    z: FloatArray = np.arctanh(np.clip(correlation, -_WHOLE, _WHOLE))
    return z
