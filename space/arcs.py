"""Arcs: per-segment values over the time of a title, smoothed and resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resonance.space.errors import ArcError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
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
        """An arc of plain numbers; None is unknown."""
        known = [np.nan if v is None else v for v in np.asarray(values, dtype=object).ravel()]
        return cls(np.asarray(times_s, dtype=np.float64), np.asarray(known, dtype=np.float64))

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

    This is the Nadaraya-Watson estimator: it keeps constants and bounds, and takes any spacing.
    Unknown values stay unknown. `width_s` is the Gaussian's standard deviation in seconds.

    Raises:
        ArcError: the width is not above 0.
    """
    if not width_s > 0:
        raise ArcError(f"width {width_s} s; expected more than 0")
    known = arc.known()
    if known.times_s.size == 0:
        return arc
    distance = (arc.times_s[:, None] - known.times_s[None, :]) / width_s  # (n, known)
    nearest = np.abs(distance).min(axis=1, keepdims=True)
    # relative to the nearest point, so that far from all points no weight underflows to 0 / 0
    weights = np.exp(-0.5 * (distance**2 - nearest**2))
    values = (weights @ known.values) / weights.sum(axis=1)
    low, high = known.values.min(), known.values.max()
    return Arc(arc.times_s, np.where(np.isnan(arc.values), np.nan, np.clip(values, low, high)))


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
    wanted = Arc(np.asarray(times_s, dtype=np.float64), np.zeros(np.shape(times_s)))
    values = np.interp(wanted.times_s, known.times_s, known.values, left=np.nan, right=np.nan)
    right = np.clip(np.searchsorted(known.times_s, wanted.times_s), 0, known.times_s.size - 1)
    left = np.clip(right - 1, 0, None)
    bridged = known.times_s[right] - known.times_s[left] > max_gap_s
    inside = bridged & (wanted.times_s != known.times_s[right]) & (wanted.times_s != known.times_s[left])
    return Arc(wanted.times_s, np.where(inside, np.nan, values))


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
