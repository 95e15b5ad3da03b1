"""Standard errors of sums over rows of a log, where rows of one viewer resemble each other and so do those
of one title.

V = V_viewers + V_titles - V_both: Cameron, Gelbach and Miller, "Robust Inference with Multiway Clustering",
Journal of Business & Economic Statistics 29, 2011. Each part sums what its clusters contribute, squared,
times n / (n - 1) of its n clusters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from resonance.space.blocks import FloatArray

IntArray = NDArray[np.int64]
ALPHA = 0.05


class TwoWay:
    """Rows by viewer and by title, int64 [R] each."""

    def __init__(self, users: IntArray, titles: IntArray) -> None:
        pairs = users * (int(titles.max(initial=0)) + 1) + titles
        self._codes = [np.unique(side, return_inverse=True)[1] for side in (users, titles, pairs)]

    @property
    def fewest(self) -> int:
        """Viewers or titles, whichever are fewer."""
        return min(int(codes.max(initial=-1)) + 1 for codes in self._codes[:2])

    def error(self, influence: FloatArray) -> float:
        """Standard error of the sum of `influence` [R], how much each row moves an estimate."""
        by_user, by_title, by_both = (_squares(influence, codes) for codes in self._codes)
        # in small logs the difference may fall below either part, which alone would be too little
        return float(np.sqrt(max(by_user + by_title - by_both, by_user, by_title)))

    def half_width(self, influence: FloatArray, *, tests: int = 1) -> float:
        """Half of the interval that holds with 95% for `tests` estimates together (Bonferroni), Student's
        with one degree of freedom less than there are viewers or titles, whichever are fewer."""
        factor = quantile(self.fewest, tests)
        # infinity times an error of 0 would be no number
        return factor * self.error(influence) if np.isfinite(factor) else np.inf


def quantile(clusters: int, tests: int = 1) -> float:
    """Student's, of so many clusters, at 1 - ALPHA / (2 tests); infinite of a single one."""
    return float(stats.t.ppf(1 - ALPHA / (2 * tests), clusters - 1)) if clusters > 1 else np.inf


def unseen(clusters: int, tests: int = 1) -> float:
    """The largest share that so many clusters may all lack, or its complement all have: exact (Clopper and
    Pearson) at 1 - ALPHA / (2 tests). For where nothing varies, an error of 0 says nothing."""
    return float(1 - (ALPHA / (2 * tests)) ** (1 / clusters)) if clusters else 1.0


def half_width_of_mean(values: FloatArray, *, tests: int = 1) -> float:
    """Half of Student's interval of the mean of independent values [n], for `tests` means together; infinite
    of a single one."""
    count = len(values)
    return quantile(count, tests) * float(values.std(ddof=1)) / float(np.sqrt(count)) if count > 1 else np.inf


def _squares(influence: FloatArray, codes: IntArray) -> float:
    sums = np.bincount(codes, influence)
    return float((sums**2).sum() * len(sums) / max(len(sums) - 1, 1))
