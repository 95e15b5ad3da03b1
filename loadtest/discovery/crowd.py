"""Vectors that lie as real ones do: a library grown to any size from the blocks of a small one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from resonance.space.blocks import join, unit

Floats = NDArray[np.float32]


class Crowd:
    """Draws titles from the normal distribution that has the mean and covariance of given ones.

    Their three blocks are drawn together, so that what belongs together in the given ones does here.

    Args:
        blocks: unit blocks of the given titles, float [N, 3, 596]; a thousand or more.
    """

    def __init__(self, blocks: NDArray[np.floating], seed: int) -> None:
        rows = np.asarray(blocks, np.float64).reshape(len(blocks), -1)  # (N, 1788)
        self._mean = rows.mean(axis=0)
        # (rows - mean) = U S V': a normal vector of N numbers times S V' / sqrt(N) has their covariance
        _, spreads, directions = np.linalg.svd(rows - self._mean, full_matrices=False)
        self._directions = (spreads[:, None] * directions / np.sqrt(len(rows))).astype(np.float32)
        self._chance = np.random.default_rng(seed)

    def draw(self, count: int) -> Floats:
        """Unit blocks of `count` titles, float32 [count, 3, 596]."""
        z = self._chance.standard_normal((count, len(self._directions)), dtype=np.float32)
        rows = self._mean.astype(np.float32) + z @ self._directions
        return unit(rows.reshape(count, 3, -1)).astype(np.float32)

    def vectors(self, count: int, at_once: int = 4096) -> Iterator[Floats]:
        """`count` title vectors, float32 [at most `at_once`, 1788] at a time."""
        for start in range(0, count, at_once):
            yield join(self.draw(min(at_once, count - start))).astype(np.float32)
