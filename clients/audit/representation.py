"""Whether a group is over- or under-represented: exact tests, intervals, correction for many tests.

Of a finite library with N titles, K of a group, a place (a cluster, the results of a query, a month) holds n
titles, k of the group. Drawn without regard to the group, k would be hypergeometric. Against a stated share k
would be binomial; against another sample Fisher's exact test holds k for given margins, which is the
hypergeometric law again. All p values are two-sided: twice the smaller tail, at most 1 (Agresti, "Categorical
Data Analysis").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from resonance.space.blocks import BoolArray, FloatArray

IntArray = NDArray[np.int64]
#: The chance of counts at either end that power leaves out.
_NEVER = 1e-9
#: On either side of a central 95%.
_TAIL = 0.025


class Against(StrEnum):
    """What a share is compared with."""

    LIBRARY = "library"
    TARGET = "target"
    OTHER = "other store"


class Correction(StrEnum):
    """How p values are corrected for their number.

    BH holds the expected share of false alerts among all alerts below alpha (Benjamini and Hochberg, 1995),
    HOLM the chance of any false alert (Holm, 1979), whatever the tests depend on.
    """

    BH = "bh"
    HOLM = "holm"


@dataclass(frozen=True, slots=True)
class Cell:
    """A group in a place, and what it is compared with.

    Attributes:
        kind: of place: library, cluster, query, month. place: its name.
        dimension, group: such as language, de.
        count, size: titles of the group in the place, and all titles there whose group is known.
        of_count, of_size: the same of what it is compared with: the whole library, or the other sample.
        target: the wanted share, where that is what it is compared with.
    """

    kind: str
    place: str
    dimension: str
    group: str
    count: int
    size: int
    against: Against = Against.LIBRARY
    of_count: int = 0
    of_size: int = 0
    target: float | None = None

    @property
    def share(self) -> float:
        """Of the place."""
        return self.count / self.size

    @property
    def expected(self) -> float:
        """The share it is compared with."""
        return self.of_count / self.of_size if self.target is None else self.target

    @property
    def can_deviate(self) -> bool:
        """False where no title, or every title, that could be in the place is of the group."""
        if self.target is not None:
            return True
        other = self.against == Against.OTHER
        marked = self.of_count + (self.count if other else 0)
        return 0 < marked < self.of_size + (self.size if other else 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """A cell and what is to be thought of it.

    Attributes:
        interval: Clopper and Pearson's of the share, 95%: what the share may be of titles such as these.
        p: of the one test; adjusted_p: among all tests of the report.
        alert: adjusted_p is at most alpha, and the deviation at least as large as was asked for.
    """

    cell: Cell
    interval: tuple[float, float]
    p: float
    adjusted_p: float
    alert: bool

    @property
    def deviation(self) -> float:
        """Share less expected."""
        return self.cell.share - self.cell.expected


def judge(
    cells: Sequence[Cell],
    *,
    alpha: float = 0.05,
    correction: Correction = Correction.BH,
    least_deviation: float = 0.0,
) -> list[Finding]:
    """All cells as one family of tests, in the order given; cells of size 0 are not allowed."""
    if not cells:
        return []
    count, size = (np.array([getattr(cell, name) for cell in cells]) for name in ("count", "size"))
    p = p_values(cells)
    adjusted = adjust(p, correction)
    low, high = clopper_pearson(count, size)
    found = []
    for at, cell in enumerate(cells):
        large = abs(cell.share - cell.expected) >= least_deviation
        interval = (float(low[at]), float(high[at]))
        alert = bool(adjusted[at] <= alpha) and large
        found.append(Finding(cell, interval, float(p[at]), float(adjusted[at]), alert))
    return found


def p_values(cells: Sequence[Cell]) -> FloatArray:
    """Exact two-sided p values, float64 [n]."""
    columns = ("count", "size", "of_count", "of_size")
    count, size, of_count, of_size = (np.array([getattr(cell, name) for cell in cells]) for name in columns)
    against = np.array([cell.against for cell in cells])
    p = np.ones(len(cells))
    target = against == Against.TARGET
    if target.any():
        wanted = np.array([cell.target for cell in cells if cell.against == Against.TARGET], np.float64)
        p[target] = _two_sided(
            stats.binom.cdf(count[target], size[target], wanted),
            stats.binom.sf(count[target] - 1, size[target], wanted),
        )
    whole = ~target
    if whole.any():
        # the library holds the place; another sample does not, and both together are what is drawn from
        other = against[whole] == Against.OTHER
        total = of_size[whole] + np.where(other, size[whole], 0)
        marked = of_count[whole] + np.where(other, count[whole], 0)
        p[whole] = hypergeometric_p(count[whole], size[whole], marked, total)
    return p


def hypergeometric_p(count: IntArray, size: IntArray, marked: IntArray, total: IntArray) -> FloatArray:
    """Two-sided, of `count` marked ones among `size` drawn from `total` that have `marked`; all [n]."""
    return _two_sided(
        stats.hypergeom.cdf(count, total, marked, size), stats.hypergeom.sf(count - 1, total, marked, size)
    )


def clopper_pearson(count: IntArray, size: IntArray) -> tuple[FloatArray, FloatArray]:
    """Exact 95% intervals of a share (Clopper and Pearson, Biometrika 26, 1934): low, high, float64 [n]."""
    with np.errstate(invalid="ignore"):
        low = np.where(count > 0, stats.beta.ppf(_TAIL, count, size - count + 1), 0.0)
        high = np.where(count < size, stats.beta.ppf(1 - _TAIL, count + 1, size - count), 1.0)
    return np.nan_to_num(low), np.nan_to_num(high, nan=1.0)


def adjust(p: FloatArray, correction: Correction) -> FloatArray:
    """Adjusted p values, float64 [n] of [n]."""
    if correction == Correction.BH:
        return np.asarray(stats.false_discovery_control(p, method="bh"))
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def usual_range(cell: Cell) -> tuple[float, float]:
    """Shares of so large a place by chance alone: the central 95% of the law that `cell` is tested by."""
    if cell.target is not None:
        law = stats.binom(cell.size, cell.target)
    elif cell.against == Against.OTHER:
        law = stats.hypergeom(cell.of_size + cell.size, cell.of_count + cell.count, cell.size)
    else:
        law = stats.hypergeom(cell.of_size, cell.of_count, cell.size)
    return float(law.ppf(_TAIL)) / cell.size, float(law.ppf(1 - _TAIL)) / cell.size


def power(base: float, excess: float, *, size: int, total: int, tests: int, alpha: float = 0.05) -> float:
    """The chance that a planted over-representation is found, where it is the only one.

    A place of `size` titles, each of the group with `base + excess`; the others of `total` with `base`. Found
    at p at most alpha / tests: with one bias among many fair cells Holm and BH both begin there.
    """
    share = min(base + excess, 1.0)
    # counts beyond have no weight in the sum, and of a large place all others would be most of the work
    least, most = stats.binom.ppf([_NEVER, 1 - _NEVER], size, share).astype(np.int64)
    counts = np.arange(max(least, 0), most + 1)
    marked = np.rint((total - size) * base).astype(np.int64) + counts
    p = hypergeometric_p(counts, np.full_like(counts, size), marked, np.full_like(counts, total))
    found: BoolArray = (p <= alpha / tests) & (counts / size > base)
    return float(stats.binom.pmf(counts, size, share)[found].sum())


def least_found(base: float, *, size: int, total: int, tests: int, alpha: float = 0.05) -> float | None:
    """The smallest excess in points of a hundred that is found four times of five; None: not even all."""
    for points in range(1, round(100 * (1 - base)) + 1):
        if power(base, points / 100, size=size, total=total, tests=tests, alpha=alpha) >= 0.8:
            return float(points)
    return None


def _two_sided(lower: FloatArray, upper: FloatArray) -> FloatArray:
    return np.asarray(np.minimum(2 * np.minimum(lower, upper), 1.0))
