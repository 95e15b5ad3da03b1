"""Figures with intervals, by drawing what they are means of again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resonance.space.blocks import FloatArray

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval: 95%, of one figure where nothing else is said."""

    value: float
    interval: tuple[float, float]


def estimate(values: FloatArray, chance: np.random.Generator) -> Estimate:
    """The mean of values [n] that are independent, by `DRAWS` bootstrap draws; NaN are left out."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Estimate(0.0, (0.0, 0.0))
    means = np.array([chance.choice(kept, len(kept)).mean() for _ in range(DRAWS)])
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(kept.mean()), (float(low), float(high)))


def of_draws(values: FloatArray) -> Estimate:
    """The first value is the figure, the others are draws of it; NaN are left out."""
    low, high = np.nanpercentile(values[1:], (2.5, 97.5))
    return Estimate(float(values[0]), (float(low), float(high)))
