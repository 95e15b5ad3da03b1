"""How much each recommended row counts: the inverse of the chance that it was seen.

A title far down a list is clicked seldom because it is seldom seen, whatever it is worth. Weighted with the
inverse of that chance, what was clicked stands for all that would have been (Joachims, Swaminathan and
Schnabel, "Unbiased Learning-to-Rank with Biased Feedback", WSDM 2017). Self-normalised, sum w y / sum w, it
does not depend on the scale of the chances (Swaminathan and Joachims, "The Self-Normalized Estimator for
Counterfactual Learning", NIPS 2015). Chances are clipped from below: a little bias for far less noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.finishing_curves import IntArray
from resonance.clients.audit.finishing_positions import PositionFit, clipped_chances, fit_positions
from resonance.space.blocks import BoolArray, FloatArray

#: Chances below count as this: no row counts for more than 20 seen for certain. A choice.
CLIP = 0.05
#: Where chances can only be supposed: (1 / position)^1, with which Joachims and others (2017) simulate.
POSITION_BIAS = 1.0
STATED = "as the log states it"
FITTED = (
    "fitted: clicks at position k of score group g have the mean impressions * seen_k * wanted_g (Poisson, "
    "maximum likelihood), relative to the first position"
)
SUPPOSED = "supposed: (1 / position)^{bias:g}"
NONE = "not known: the log has neither propensity nor position, so that all rows count alike"


@dataclass(frozen=True, slots=True, eq=False)
class SeenWeights:
    """Attributes:
    weights: 1 / chance, clipped, float64 [R]; NaN where the chance is not known.
    method: where the chances come from, in words. why: why not from a better place; may be empty.
    clipped: share of the rows whose chance lay below the clip.
    by_position: (positions, chances) where they go by position alone.
    fit: what they were fitted to, where they were.
    """

    weights: FloatArray
    method: str
    why: str
    clipped: float
    by_position: tuple[NDArray[np.int64], FloatArray] | None = None
    fit: PositionFit | None = None


def effective_size(weights: FloatArray) -> float:
    """How many equal weights say as much: (sum w)^2 / sum w^2 (Kish, "Survey Sampling", 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def seen_weights(
    *,
    users: IntArray,
    score: FloatArray,
    position: NDArray[np.int64],
    propensity: FloatArray,
    clicked: BoolArray,
    clip: float = CLIP,
    position_bias: float | None = None,
) -> SeenWeights:
    """Weights of recommended rows, all [R]: stated where the log states any, else by position.

    Args:
        users: whose they are. score: NaN where there is none. position: from 1, 0 where not known.
        propensity: NaN where not known.
        position_bias: suppose (1 / position)^position_bias, and fit nothing.
    """
    if np.isfinite(propensity).any() and position_bias is None:
        return _clipped(propensity, clip, STATED)
    ranked = position > 0
    if not ranked.any():
        return SeenWeights(np.ones(len(score)), NONE, "", 0.0)
    positions, codes = np.unique(position, return_inverse=True)
    why = ""
    if position_bias is None:
        fitted = fit_positions(
            users=users, score=score, codes=codes, clicked=clicked, ranked=ranked, clip=clip
        )
        if isinstance(fitted, PositionFit):
            chances = np.where(positions > 0, fitted.chances, np.nan)
            weights = _clipped(chances[codes], clip, FITTED, positions, chances)
            return replace(weights, fit=fitted)
        why = fitted
    bias = POSITION_BIAS if position_bias is None else position_bias
    with np.errstate(divide="ignore"):
        chances = np.where(positions > 0, np.maximum(positions, 1).astype(np.float64) ** -bias, np.nan)
    return _clipped(chances[codes], clip, SUPPOSED.format(bias=bias), positions, chances, why=why)


def _clipped(
    chances: FloatArray,
    clip: float,
    method: str,
    positions: NDArray[np.int64] | None = None,
    by_position: FloatArray | None = None,
    *,
    why: str = "",
) -> SeenWeights:
    known = np.isfinite(chances)
    clipped = float((chances[known] < clip).mean())
    table = None
    if positions is not None and by_position is not None:
        there = np.isfinite(by_position)
        table = (positions[there], clipped_chances(by_position[there], clip))
    return SeenWeights(1 / clipped_chances(chances, clip), method, why, clipped, table)
