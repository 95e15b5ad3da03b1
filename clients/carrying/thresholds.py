"""A threshold of scores in the old space, as one in the new space that takes as many pairs of titles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resonance.clients.carrying.measuring import SEED
from resonance.clients.errors import UsageError
from resonance.space.blocks import ROOT_BLOCKS, FloatArray, split

#: Titles whose pairs are looked at: 124,750 pairs.
PAIRED_TITLES = 500
#: Pairs above a threshold, and below it, under which its quantile means little: a choice.
FEWEST_PAIRS = 50
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold in both spaces.

    Attributes:
        old, new: scores of one title of a pair with the query "like the other". interval: of `new`, at 95%,
            by resampling titles.
        share: of pairs at or above it, in either space.
        same: of the pairs above it in the old space, the share that lies above it in the new one, too.
    """

    old: float
    new: float
    interval: tuple[float, float]
    share: float
    same: float
    pairs: int


def carry_threshold(
    threshold: float, old: ArrayLike, new: ArrayLike, old_sigmas: ArrayLike, new_sigmas: ArrayLike
) -> Threshold:
    """By matched quantiles: the share of pairs above it is the same in both spaces.

    Args:
        old, new: vectors [n, 1788] of the same titles.
        old_sigmas, new_sigmas: sigma(m, m) of each space, [3].

    Raises:
        UsageError: fewer than `FEWEST_PAIRS` pairs lie on one side of it.
    """
    before, after = (
        _scores(np.asarray(vectors)[:PAIRED_TITLES], sigmas)
        for vectors, sigmas in ((old, old_sigmas), (new, new_sigmas))
    )
    titles = len(before)
    pairs = np.triu_indices(titles, 1)
    found, share = _matched(threshold, before[pairs], after[pairs])
    above = before[pairs] >= threshold
    if min(above.sum(), (~above).sum()) < FEWEST_PAIRS:
        low, high = before[pairs].min(), before[pairs].max()
        raise UsageError(
            f"threshold {threshold:g}: {above.sum()} of {above.size} pairs of titles lie above it (scores go "
            f"from {low:.3g} to {high:.3g}); expected at least {FEWEST_PAIRS} on each side"
        )
    rng = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(titles, size=titles)
        i, j = rows[pairs[0]], rows[pairs[1]]
        other = i != j  # a title drawn twice is no pair
        drawn.append(_matched(threshold, before[i[other], j[other]], after[i[other], j[other]])[0])
    low, high = np.quantile(drawn, (0.025, 0.975))
    same = float((after[pairs][above] >= found).mean())
    return Threshold(threshold, found, (float(low), float(high)), share, same, above.size)


def _scores(vectors: NDArray[np.floating[Any]], sigmas: ArrayLike) -> FloatArray:
    """Scores of every title with the query "like that title", float64 [n, n]."""
    blocks = split(vectors)  # (n, 3, 596)
    sigma = np.asarray(sigmas, np.float64)
    return np.asarray(
        sum(blocks[:, m] @ blocks[:, m].T / sigma[m] for m in range(len(sigma))) / ROOT_BLOCKS, np.float64
    )


def _matched(threshold: float, before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """The score that as large a share of `after` reaches, and that share."""
    share = float((before >= threshold).mean())
    return float(np.quantile(after, 1 - share)), share
