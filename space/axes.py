"""Where vectors stand on the axes of their space.

For a vector with present blocks P and an axis,

    z     = mean over m in P of (block_m . direction - mean_m) / spread_m
    value = Phi(z), the normal distribution function

so 0.5 is the middle of the reference set, 0.84 and 0.16 lie one of its standard deviations to the high
and to the low side, and a value never decreases as a block turns towards the high end. Inferred blocks
do not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from resonance.space.blocks import FloatArray, check_presence, split
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, Axis
from resonance.space.errors import BlockError


class AxisMeter:
    """Reads vectors off a set of axes, `Descriptor.axes`. `names`: the axes, in order."""

    def __init__(self, axes: Mapping[str, Axis]) -> None:
        self.names = tuple(axes)
        chosen = list(axes.values())
        # (A, 596), (3, A), (3, A); reshaped, so that no axes are no columns
        self._directions = np.array([a.direction for a in chosen], np.float64).reshape(-1, BLOCK_WIDTH)
        shape = (len(MODALITIES), len(chosen))
        self._means = np.array([[a.mean[m] for a in chosen] for m in MODALITIES], np.float64).reshape(shape)
        self._spreads = np.array([[a.spread[m] for a in chosen] for m in MODALITIES], np.float64).reshape(
            shape
        )

    def values(self, vectors: ArrayLike, present: ArrayLike) -> FloatArray:
        """Values in 0..1, float64 [..., A], of vectors [..., 1788] with presence bool [..., 3].

        Raises:
            BlockError: a wrong shape, numbers that are not finite, blocks that are not unit, or a vector
                of which nothing is present.
        """
        blocks, there = split(vectors), check_presence(present)
        if blocks.shape[:-1] != there.shape:
            raise BlockError(
                f"vectors of shape {np.shape(vectors)} and presence of {there.shape}; "
                f"expected (..., 1788) and (..., {len(MODALITIES)})"
            )
        if not self.names:
            return np.zeros((*there.shape[:-1], 0))
        deviations = (blocks @ self._directions.T - self._means) / self._spreads  # (..., 3, A)
        counted = there[..., None]
        z = np.where(counted, deviations, 0.0).sum(axis=-2) / counted.sum(axis=-2)  # (..., A)
        return _normal_distribution(z)


def _normal_distribution(z: FloatArray) -> FloatArray:
    """Phi(z), of the same shape."""
    values = [0.5 * math.erfc(-x / math.sqrt(2.0)) for x in z.reshape(-1)]
    return np.array(values, np.float64).reshape(z.shape)
