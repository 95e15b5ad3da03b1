"""Carrying vectors from one space to another: a rotation, fitted on titles that stand in both.

For blocks a_i of the old space and b_i of the new one, both unit, the orthogonal matrix R with the least
sum of |a_i R - b_i|^2 is U V', where U S V' is the singular value decomposition of sum a_i' b_i
(Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966).
A rotation keeps all cosines, so what was near stays near, and it has no more freedom than that: a freer
map would fit a few hundred titles of 596 numbers exactly and mean nothing elsewhere.

Modalities lie apart in a shared space. Centred, each modality's mean is removed before the rotation and the
new space's is put back after it; the block is made unit again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resonance.space.blocks import BoolArray, FloatArray, check_presence, join, split, unit
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES
from resonance.space.errors import CarryingError
from resonance.space.scores import Query

#: Titles with a modality, below which its mean or a rotation of its own means nothing: a choice.
FEWEST_TITLES = 30
#: How far a stored matrix may be from orthogonal: float32.
ORTHOGONAL_TOLERANCE = 1e-3
_BLOCKS = len(MODALITIES)
_ORDERS = 8  # in which a matrix's rows are tried


@dataclass(frozen=True, slots=True, eq=False)
class Carrying:
    """Where blocks of an old space stand in a new one: unit((a - old_means) R + new_means).

    Attributes:
        rotations: float64 [1 or 3, 596, 596]: one for all blocks, or one a block in order.
        old_means, new_means: float64 [3, 596]; zero where it is not centred.

    Raises:
        CarryingError: other shapes, numbers that are not finite, or a matrix that is not orthogonal.
    """

    rotations: FloatArray
    old_means: FloatArray
    new_means: FloatArray

    def __post_init__(self) -> None:
        shape = self.rotations.shape
        if shape not in {(1, BLOCK_WIDTH, BLOCK_WIDTH), (_BLOCKS, BLOCK_WIDTH, BLOCK_WIDTH)}:
            raise CarryingError(
                f"rotations of shape {shape}; expected (1 or 3, {BLOCK_WIDTH}, {BLOCK_WIDTH})"
            )
        for means in (self.old_means, self.new_means):
            if means.shape != (_BLOCKS, BLOCK_WIDTH) or not np.isfinite(means).all():
                raise CarryingError(
                    f"means of shape {means.shape}; expected ({_BLOCKS}, {BLOCK_WIDTH}), all finite"
                )
        products = self.rotations @ self.rotations.transpose(0, 2, 1)
        worst = float(np.abs(products - np.eye(BLOCK_WIDTH)).max())
        if not worst <= ORTHOGONAL_TOLERANCE:  # not a number is neither
            raise CarryingError(f"a matrix that is {worst:.2g} away from orthogonal; expected a rotation")

    def blocks(self, blocks: ArrayLike) -> FloatArray:
        """Unit blocks [..., 3, 596] of the old space, in the new one.

        Raises:
            BlockError: a block that ends without direction.
        """
        return unit(self._turned(np.asarray(blocks, np.float64) - self.old_means) + self.new_means)

    def vectors(self, vectors: ArrayLike) -> FloatArray:
        """Vectors [..., 1788] of the old space, in the new one.

        Raises:
            BlockError: a wrong width, numbers that are not finite, blocks that are not unit.
        """
        return join(self.blocks(split(vectors)))

    def blend(self, query: Query, amount: float, old_sigmas: ArrayLike, new_sigmas: ArrayLike) -> Query:
        """A query that is a sum of queries "like this title" in the new space, a taste for one.

        Its block m is sum_i s_i a_im / sigma_m, so the means come and go with the sum of the shares. Exact
        but for one thing: the carried titles of a centred map are not made unit one by one.

        Args:
            amount: sum of the shares s_i, signed; 1 for a single title.
            old_sigmas, new_sigmas: [3], sigma(m, m) of each space.
        """
        old, new = (np.asarray(sigmas, np.float64)[:, None] for sigmas in (old_sigmas, new_sigmas))  # (3, 1)
        turned = self._turned(query.blocks * old - amount * self.old_means)
        return Query((turned + amount * self.new_means) / new)

    def _turned(self, blocks: FloatArray) -> FloatArray:
        rows = blocks.reshape(-1, _BLOCKS, BLOCK_WIDTH).transpose(1, 0, 2)  # (3, n, 596)
        return np.asarray((rows @ self.rotations).transpose(1, 0, 2).reshape(blocks.shape))


def fit_carrying(
    old: ArrayLike, new: ArrayLike, present: ArrayLike, *, shared: bool = True, centred: bool = False
) -> Carrying:
    """The best rotation over titles that stand in both spaces.

    Args:
        old, new: unit blocks [n, 3, 596] of the same titles in the same order.
        present: bool [n, 3], which blocks really are there in BOTH; the others are not looked at.
        shared: one rotation for all blocks, or one for each.
        centred: remove each modality's mean first. A modality with fewer than `FEWEST_TITLES` is not centred.

    Raises:
        CarryingError: other shapes, or too few titles: of any modality where it is shared, else of each.
        BlockError: no bools, or a title of which nothing is present.
    """
    a, b, there = np.asarray(old, np.float64), np.asarray(new, np.float64), check_presence(present)
    if a.shape != b.shape or a.shape != (*there.shape, BLOCK_WIDTH) or a.ndim != 3:
        raise CarryingError(
            f"blocks of shapes {a.shape} and {b.shape}, presence of {there.shape}; "
            f"expected (n, {_BLOCKS}, {BLOCK_WIDTH}) twice and (n, {_BLOCKS})"
        )
    counts = there.sum(axis=0)  # (3,)
    few = counts.max() < FEWEST_TITLES if shared else counts.min() < FEWEST_TITLES
    if few:
        told = ", ".join(f"{count} with {name}" for name, count in zip(MODALITIES, counts, strict=True))
        raise CarryingError(
            f"too few titles that really have a modality in both spaces ({told}); expected {FEWEST_TITLES}"
            + (" of one" if shared else " of each, or one rotation for all blocks")
        )
    enough = centred & (counts >= FEWEST_TITLES)  # (3,)
    old_means, new_means = (_means(blocks, there, enough) for blocks in (a, b))
    crossed = _crossed(a - old_means, b - new_means, there)  # (3, 596, 596)
    matrices = crossed.sum(axis=0, keepdims=True) if shared else crossed
    return Carrying(np.stack([_nearest_rotation(matrix) for matrix in matrices]), old_means, new_means)


def _nearest_rotation(matrix: FloatArray) -> FloatArray:
    """U V' of U S V', float64 [596, 596].

    LAPACK's divide and conquer (gesdd) does not converge on a few matrices of less than full rank, such as
    those of fewer than 596 titles. The same rows in another order have the same decomposition.

    Raises:
        CarryingError: it converges in no order.
    """
    rng = np.random.Generator(np.random.PCG64(_BLOCKS))
    order = np.arange(len(matrix))
    for _ in range(_ORDERS):
        try:
            left, _, right = np.linalg.svd(matrix[order])
        except np.linalg.LinAlgError:
            order = rng.permutation(len(matrix))
            continue
        rotation = np.empty_like(matrix)
        rotation[order] = left @ right
        return rotation
    raise CarryingError(
        f"the singular values of {matrix.shape} numbers were not found; expected a few titles more, or fewer"
    )


def _means(blocks: FloatArray, there: BoolArray, wanted: NDArray[np.bool_]) -> FloatArray:
    """Mean of the present blocks by modality, float64 [3, 596]; zero where it is not wanted."""
    sums = np.where(there[..., None], blocks, 0.0).sum(axis=0)
    counted = np.maximum(there.sum(axis=0), 1)[:, None]
    return np.where(wanted[:, None], sums / counted, 0.0)


def _crossed(a: FloatArray, b: FloatArray, there: BoolArray) -> FloatArray:
    """Sum of a_i' b_i over the titles that have each modality, float64 [3, 596, 596]."""
    return np.stack([a[there[:, m], m].T @ b[there[:, m], m] for m in range(_BLOCKS)])
