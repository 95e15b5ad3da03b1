"""Intervals of measures and of their differences.

Viewers AND titles are a sample: other new titles would have been found better or worse. Viewers alone would
take the titles as given, and find differences where two recommenders know nothing and one happened to rank
the more popular new titles first. So what each viewing adds to an estimate is summed by viewer and by title
(`resonance.clients.audit.two_way`). All contestants have the same viewings, so differences are paired.
"""

from __future__ import annotations

import numpy as np

from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.two_way import TwoWay, half_width_of_mean, unseen
from resonance.training.coldstart.measures import Floats, Viewings


class Means:
    """Means over viewers that are sums over viewings, each from 0 to 1. So no interval goes beyond, and of a
    single viewer or title, which say nothing of others, it is all that.

    Args:
        gains: what each viewing adds, [P, M]. shares: of its viewer, [P]; the mean is sum gains / sum shares.
    """

    def __init__(self, viewings: Viewings, gains: Floats, shares: Floats) -> None:
        self._gains, self._shares, self._total = gains, shares, float(shares.sum())
        self._clusters = TwoWay(viewings.viewers, viewings.titles)
        self.values: Floats = gains.sum(axis=0) / self._total

    def estimate(self, column: int, *, tests: int = 1) -> Estimate:
        """A mean and its interval of 95%."""
        return self._estimate(self._gains[:, column], 0.0, tests)

    def difference(self, one: int, other: int, *, tests: int = 1) -> Estimate:
        """One less another; 95% hold for `tests` differences together (Bonferroni)."""
        return self._estimate(self._gains[:, one] - self._gains[:, other], -1.0, tests)

    def relative(self, one: int, other: int, *, tests: int = 1) -> Estimate | None:
        """The same as a share of the other, its interval made of the logarithm; None where either is 0, and
        of a single viewer or title."""
        sums = [float(self._gains[:, column].sum()) for column in (one, other)]
        if min(sums) <= 0:
            return None
        moved = self._gains[:, one] / sums[0] - self._gains[:, other] / sums[1]
        ratio, half = sums[0] / sums[1], self._clusters.half_width(moved, tests=tests)
        if np.allclose(moved, 0, atol=1e-12):
            # one finds of every title what the other does: of titles that were not drawn that is not sure
            apart, alike = unseen(self._clusters.fewest, tests), sums[1] / self._total
            with np.errstate(divide="ignore"):
                half = max(half, float(np.log1p(apart / np.float64(min(alike, 1 - apart)))))
        with np.errstate(over="ignore"):
            low, high = ratio * np.exp([-half, half]) - 1
        return Estimate(ratio - 1, (float(low), float(high))) if np.isfinite(high) else None

    def _estimate(self, gains: Floats, least: float, tests: int) -> Estimate:
        value = float(gains.sum()) / self._total
        moved = (gains - value * self._shares) / self._total
        half = self._clusters.half_width(moved, tests=tests)
        if any(np.allclose(gains, extreme * self._shares) for extreme in (-1, 0, 1)):
            # nothing or everything was found, or neither found more: of others that is not sure
            half = max(half, unseen(self._clusters.fewest, tests))
        return _within(value, half, least, 1.0)


def over_viewers(values: Floats, *, most: float = 1.0) -> Estimate:
    """The mean of values of viewers [U], each from 0 to `most`, viewers alone being a sample: for what lists
    are made of."""
    return _within(float(values.mean()), half_width_of_mean(values), 0.0, most)


def _within(value: float, half: float, least: float, most: float) -> Estimate:
    return Estimate(value, (max(value - half, least), min(value + half, most)))
