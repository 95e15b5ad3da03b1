"""Intervals of measures and of their differences, by drawing viewers and titles again, both alike.

Viewers AND titles are a sample: other new titles would have been found better or worse. Drawing viewers alone
takes the titles as given, and finds differences where two recommenders know nothing and one happened to rank
the more popular new titles first. So a viewing counts w_viewer * v_title, each the times that its viewer and
its title were drawn, with replacement (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1,
2007, which gives intervals that are rather too wide than too narrow). All contestants share the draws:
differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.estimates import Estimate
from resonance.training.coldstart.measures import Floats, Viewings

#: Draws times viewings that are weighed at once.
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Draws:
    """Means as they are, [M], and of each draw, [draws, M]."""

    values: Floats
    drawn: Floats

    def estimate(self, column: int, *, tests: int = 1) -> Estimate:
        """A mean and its interval of 95%."""
        return _estimate(self.values[column], self.drawn[:, column], tests)

    def difference(self, one: int, other: int, *, tests: int = 1) -> Estimate:
        """One less another; 95% hold for `tests` differences together (Bonferroni)."""
        drawn: Floats = self.drawn[:, one] - self.drawn[:, other]
        return _estimate(self.values[one] - self.values[other], drawn, tests)

    def relative(self, one: int, other: int, *, tests: int = 1) -> Estimate | None:
        """The same as a share of the other; None where that is 0, or may be."""
        below, drawn = self.values[other], self.drawn[:, other]
        if below <= 0 or (drawn <= 0).any():
            return None
        return _estimate(self.values[one] / below - 1, np.divide(self.drawn[:, one], drawn) - 1.0, tests)


def _estimate(value: float, drawn: Floats, tests: int) -> Estimate:
    low, high = np.quantile(drawn, [0.025 / tests, 1 - 0.025 / tests])
    return Estimate(float(value), (float(low), float(high)))


def draw_both(viewings: Viewings, gains: Floats, shares: Floats, *, draws: int, seed: int) -> Draws:
    """Of means over viewers that are sums over viewings.

    Args:
        gains: what each viewing adds, [P, M]. shares: of its viewer, [P]; the mean is sum gains / sum shares.
    """
    rng = np.random.default_rng([seed, 4])
    sides = [np.unique(side, return_inverse=True)[1] for side in (viewings.viewers, viewings.titles)]
    counts = [int(side.max()) + 1 for side in sides]
    both = np.column_stack([gains, shares])  # (P, M + 1)
    found = []
    at_once = max(1, _CELLS // max(len(shares), *counts))
    for first in range(0, draws, at_once):
        size = min(at_once, draws - first)
        viewer, title = (rng.multinomial(n, np.full(n, 1 / n), size).astype(np.int32) for n in counts)
        weights = (viewer[:, sides[0]] * title[:, sides[1]]).astype(np.float64)  # (size, P)
        found.append(weights @ both)
    sums = np.concatenate(found)
    return Draws(gains.sum(axis=0) / shares.sum(), sums[:, :-1] / np.maximum(sums[:, -1:], 1e-12))


def draw_viewers(values: NDArray[np.float64], *, draws: int, seed: int) -> Draws:
    """Of means over viewers of values [U, M], drawing viewers alone: for what lists are made of."""
    rng = np.random.default_rng([seed, 5])
    found = []
    at_once = max(1, _CELLS // len(values))
    for first in range(0, draws, at_once):
        size = min(at_once, draws - first)
        weights = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size).astype(float)
        found.append(weights @ values / len(values))
    return Draws(values.mean(axis=0), np.concatenate(found))
