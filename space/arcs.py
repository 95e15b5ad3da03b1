"""Arcs: per-segment values over the time of a title, smoothed and resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resonance.space.errors import ArcError

FloatArray = NDArray[np.float64]

#: Standard deviations after which a neighbour's weight is below 1e-7 and left out.
REACH = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Arc:
    """Values over time. times_s: float64 [n], rising; values: float64 [n], NaN where unknown.

    Raises:
        ArcError: lengths differ, a time is not finite, or times do not rise.
    """

    times_s: FloatArray
    values: FloatArray

    def __post_init__(self) -> None:
        if self.times_s.ndim != 1 or self.times_s.shape != self.values.shape:
            raise ArcError(
                f"times {self.times_s.shape} and values {self.values.shape}; expected equal lengths"
            )
        if not np.isfinite(self.times_s).all() or (np.diff(self.times_s) <= 0).any():
            raise ArcError("times are not finite or do not rise; expected strictly rising seconds")
        if np.isinf(self.values).any():
            raise ArcError("a value is infinite; expected finite numbers, or NaN where unknown")

    @classmethod
    def of(cls, times_s: ArrayLike, values: Sequence[float | None] | ArrayLike) -> Arc:
        """An arc of plain numbers [n]; None and NaN are unknown.

        Raises:
            ArcError: see the class, or something is not a number.
        """
        return cls(_numbers(times_s, "times"), _numbers(values, "values"))

    def known(self) -> Arc:
        """The points whose value is known."""
        there = ~np.isnan(self.values)
        return Arc(self.times_s[there], self.values[there])

    def points(self) -> list[tuple[float, float]]:
        """(time_s, value) of the known points."""
        arc = self.known()
        return [(float(t), float(v)) for t, v in zip(arc.times_s, arc.values, strict=True)]


def smooth(arc: Arc, width_s: float) -> Arc:
    """Each known value becomes the mean of the known ones around it, weighted by a Gaussian in time.

    This is the kernel estimator of Nadaraya (1964) and Watson (1964): it keeps constants and bounds and
    takes any spacing. At the ends the mean is one-sided, so a slope flattens there. Unknown values stay
    unknown. `width_s` is the Gaussian's standard deviation in seconds.

    Raises:
        ArcError: the width is not finite and above 0.
    """
    if not 0 < width_s < np.inf:
        raise ArcError(f"width {width_s} s; expected a finite number above 0")
    known = arc.known()
    # a title of a day has 10,800 segments: only neighbours within reach are looked at, not all pairs, and all
    # those so many places away at once
    times_s, at = known.times_s, np.arange(known.times_s.size)
    first = np.searchsorted(times_s, times_s - REACH * width_s, side="left") - at
    last = np.searchsorted(times_s, times_s + REACH * width_s, side="right") - at
    sums, weighed = np.zeros_like(known.values), np.zeros_like(known.values)
    low, high = known.values.copy(), known.values.copy()
    for places in range(first.min(initial=0), last.max(initial=0)):
        here = at[(first <= places) & (places < last)]
        around = known.values[here + places]
        weights = np.exp(-0.5 * ((times_s[here + places] - times_s[here]) / width_s) ** 2)
        sums[here] += weights * around
        weighed[here] += weights
        low[here] = np.minimum(low[here], around)
        high[here] = np.maximum(high[here], around)
    # rounding must not push a mean out of what it is a mean of
    smoothed = np.clip(sums / weighed, low, high)
    values = arc.values.copy()
    values[~np.isnan(values)] = smoothed
    return Arc(arc.times_s, values)


def resample(arc: Arc, times_s: ArrayLike, *, max_gap_s: float = np.inf) -> Arc:
    """Values at other times, linear between known points.

    Outside the known points, and between two that lie more than `max_gap_s` apart, values are unknown;
    a known point itself is always kept.

    Raises:
        ArcError: `times_s` do not rise, or nothing is known.
    """
    known = arc.known()
    if known.times_s.size == 0:
        raise ArcError("no value is known; expected at least one")
    wanted_s = Arc.of(times_s, np.zeros(np.shape(times_s))).times_s
    values = np.interp(wanted_s, known.times_s, known.values, left=np.nan, right=np.nan)
    right = np.clip(np.searchsorted(known.times_s, wanted_s), 1, max(known.times_s.size - 1, 1))
    steps_s = np.diff(known.times_s, append=np.inf)  # from each known point to the next
    in_gap = (steps_s[right - 1] > max_gap_s) & ~np.isin(wanted_s, known.times_s)
    return Arc(wanted_s, np.where(in_gap, np.nan, values))


def resample_to(arc: Arc, points: int, *, max_gap_s: float = np.inf) -> Arc:
    """The arc at `points` equally spaced times from its first to its last known point.

    Raises:
        ArcError: fewer than 2 points are asked for, or fewer than 2 are known.
    """
    known = arc.known()
    if points < 2 or known.times_s.size < 2:
        raise ArcError(
            f"{points} points of an arc with {known.times_s.size} known; expected at least 2 and 2"
        )
    return resample(known, np.linspace(known.times_s[0], known.times_s[-1], points), max_gap_s=max_gap_s)


def resample_every(arc: Arc, step_s: float, *, max_gap_s: float = np.inf) -> Arc:
    """The arc every `step_s` seconds from its first known point on, up to its last.

    Raises:
        ArcError: the step is not finite and above 0, or nothing is known.
    """
    if not 0 < step_s < np.inf:
        raise ArcError(f"step {step_s} s; expected a finite number above 0")
    known = arc.known()
    if known.times_s.size == 0:
        raise ArcError("no value is known; expected at least one")
    length_s = known.times_s[-1] - known.times_s[0]
    # a last point that only rounding puts beyond the end still counts
    steps = np.arange(np.floor(length_s / step_s * (1 + 1e-12)) + 1)
    times_s = np.minimum(known.times_s[0] + steps * step_s, known.times_s[-1])
    return resample(known, times_s, max_gap_s=max_gap_s)


def _numbers(values: Sequence[float | None] | ArrayLike, what: str) -> FloatArray:
    """Float64, NaN for None."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArcError(f"{what} are not numbers ({error}); expected a list of numbers") from error
