"""How much of one set of columns another explains, out of fold and with an interval.

Ridge regression from x to y is fitted on all folds but one and predicts that one. With y less the mean of its
training folds, and f the prediction less the same,

    share = sum <y_i, f_i> / sum |y_i|^2

Where f is linear and fitted without bias, E<y, f> = E|E_linear(y|x)|^2: the share is that of the population,
whatever the number of titles or of useless columns, and 0 in the mean where x says nothing of y. The usual
R^2, 1 - sum |y_i - f_i|^2 / sum |y_i|^2, also pays for the noise of the fit, about columns / titles; it is
given beside it. The ridge is only to keep columns that say the same apart: 0.01 of one title.

The interval is of the infinitesimal jackknife: a title's influence on the explained variance is
2 <y_i, f_i> - |f_i|^2 less its mean (the efficient influence function of R^2: Williamson, Gilbert, Carone
and Simon, Biometrics 77, 2021), on a ratio less share times |y_i|^2. What the noise of
the fit adds to |f_i|^2, a title's leverage times the residual variance, is taken off: tags of few titles
would make it too narrow. With nothing explained it is wider than need be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.space.blocks import BoolArray, FloatArray

Floats = NDArray[np.float32] | FloatArray
#: 97.5% of the normal distribution lies below.
Z_95 = 1.959964
FOLDS = 10
#: Below that, folds and intervals mean nothing.
LEAST_TITLES = 100
_RIDGE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """What was explained of each title, float64 [n] each; 0 in all three where a title does not count.

    Attributes:
        common: <y, f>. fitted: |f|^2. total: |y|^2.
        noise: what the noise of the fit adds to |f|^2 in the mean.
    """

    common: FloatArray
    fitted: FloatArray
    total: FloatArray
    noise: FloatArray

    @property
    def share(self) -> float:
        """Explained share of the variance; may lie below 0. 0 where nothing varies."""
        total = float(self.total.sum())
        return float(self.common.sum()) / total if total > 0 else 0.0

    @property
    def r2(self) -> float:
        """The usual out-of-fold R^2: what is explained, less the noise of this fit."""
        total = float(self.total.sum())
        return float((2 * self.common - self.fitted).sum()) / total if total > 0 else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Of `share`, at 95%."""
        total = float(self.total.sum())
        if total <= 0:
            return 0.0, 0.0
        influence = 2 * self.common - (self.fitted - self.noise) - self.share * self.total
        counted = influence[self.total > 0]
        half = Z_95 * float(np.sqrt(((counted - counted.mean()) ** 2).sum())) / total
        return self.share - half, self.share + half

    def only(self, titles: BoolArray) -> Explained:
        """Of some titles, [n] bool, as they were predicted."""
        return Explained(self.common[titles], self.fitted[titles], self.total[titles], self.noise[titles])

    def __add__(self, other: Explained) -> Explained:
        """Of the same titles, more columns."""
        return Explained(
            self.common + other.common,
            self.fitted + other.fitted,
            self.total + other.total,
            self.noise + other.noise,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Attributes:
    centred: y less its mean in the other folds. predicted: the prediction less the same; float64 [n, d] each.
    leverage: the variance of a prediction, in units of the residual variance, float64 [n].
    """

    centred: FloatArray
    predicted: FloatArray
    leverage: FloatArray

    def explained(self) -> Explained:
        """How much was."""
        left = self.centred - self.predicted
        # a title's own residual and the noise of its prediction, over both their variances
        variance = np.einsum("nd,nd->", left, left) / (1 + self.leverage).sum()
        return Explained(
            common=np.einsum("nd,nd->n", self.centred, self.predicted),
            fitted=np.einsum("nd,nd->n", self.predicted, self.predicted),
            total=np.einsum("nd,nd->n", self.centred, self.centred),
            noise=self.leverage * variance,
        )


def random_folds(titles: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """A fold for each of `titles`, int [n]."""
    folds: NDArray[np.intp] = rng.permutation(titles) % FOLDS
    return folds


def out_of_fold(x: Floats, y: Floats, folds: NDArray[np.intp]) -> Predicted:
    """Columns y [n, d] from x [n, p], each title by the fit without its fold."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    counts, x_sums, y_sums, squares, products = 0, 0.0, 0.0, 0.0, 0.0
    parts = []
    for fold in range(FOLDS):
        mine = folds == fold
        xs, ys = x[mine], y[mine]
        part = (len(xs), xs.sum(axis=0), ys.sum(axis=0), xs.T @ xs, xs.T @ ys)
        parts.append(part)
        counts, x_sums, y_sums = counts + part[0], x_sums + part[1], y_sums + part[2]
        squares, products = squares + part[3], products + part[4]
    centred, predicted, leverage = np.empty_like(y), np.empty_like(y), np.empty(len(y))
    for fold, (n, x_sum, y_sum, square, product) in enumerate(parts):
        mine = folds == fold
        rest = counts - n
        x_mean, y_mean = (x_sums - x_sum) / rest, (y_sums - y_sum) / rest
        gram = squares - square - rest * np.outer(x_mean, x_mean)  # (p, p)
        gram[np.diag_indices_from(gram)] += _RIDGE
        inverse = np.linalg.inv(gram)
        slopes = inverse @ (products - product - rest * np.outer(x_mean, y_mean))  # (p, d)
        away = x[mine] - x_mean
        centred[mine], predicted[mine] = y[mine] - y_mean, away @ slopes
        leverage[mine] = np.einsum("np,np->n", away @ inverse, away)
    return Predicted(centred, predicted, leverage)


def explained_where(x: Floats, y: Floats, there: BoolArray, folds: NDArray[np.intp]) -> Explained:
    """Of y [n, d] from x [n, p], of the titles that are `there`, bool [n], where those are 100.

    All others count nothing.
    """
    values = np.zeros((4, len(x)))
    if there.sum() >= LEAST_TITLES:
        part = out_of_fold(x[there], y[there], folds[there]).explained()
        values[:, there] = part.common, part.fitted, part.total, part.noise
    return Explained(*values)
