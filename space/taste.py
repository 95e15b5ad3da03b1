"""A taste: queries put together with amounts, so that its scores split exactly into a part for each.

    taste = sum_i a_i q_i / sum_i |a_i|

q_i is the query "like title i", a_i how much title i counts, below 0 for "less like this". The taste is a
query like any other, so weights and shares mean the same; and as a score is linear in its query, the score of
a title t is the sum over i and over blocks m of

    a_i / sum |a|  *  w_m q_im . t_m
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from resonance.space.blocks import FloatArray, check_vectors
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES
from resonance.space.errors import WeightError
from resonance.space.scores import Query, Weights, weighted_blocks


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """What a taste is made of. Make one with `Blend.of`.

    Attributes:
        blocks: those of the queries, float64 [n, 3, 596].
        shares: a_i / sum |a|, float64 [n]: of the whole, signed.
    """

    blocks: FloatArray
    shares: FloatArray

    @classmethod
    def of(cls, queries: Sequence[Query], amounts: ArrayLike) -> Blend:
        """Of queries and how much each counts, [n].

        Raises:
            WeightError: no query, another number of amounts, one that is not finite, or all of them 0.
        """
        counted = np.asarray(amounts, dtype=np.float64)
        if not queries or counted.shape != (len(queries),):
            raise WeightError(
                f"{len(queries)} queries and amounts of shape {counted.shape}; "
                "expected at least one query, and an amount for each"
            )
        largest = float(np.abs(counted).max())
        if not 0 < largest < np.inf:
            raise WeightError(f"the largest amount is {largest}; expected finite ones, one of them not 0")
        counted = counted / largest  # so that the sum neither overflows nor vanishes
        return cls(np.stack([q.blocks for q in queries]), counted / np.abs(counted).sum())

    def query(self) -> Query:
        """The taste."""
        return Query(np.tensordot(self.shares, self.blocks, axes=1))  # (n) . (n, 3, 596) -> (3, 596)

    def contributions(self, weights: Weights, titles: ArrayLike) -> FloatArray:
        """What each query and block brings to the scores of titles [..., 1788]: float64 [..., n, 3].

        Summed over the last two axes it is `score(self.query(), weights, titles)`, and over n alone the
        shares that `explain` gives, both to the rounding of float64.

        Raises:
            BlockError: a wrong width, or numbers that are not finite. WeightError: see `Query.weighted`.
        """
        vectors = check_vectors(titles)
        blocks = vectors.reshape(-1, len(MODALITIES), BLOCK_WIDTH)  # (t, 3, 596)
        mine = weighted_blocks(self.blocks, weights) * self.shares[:, None, None]  # (n, 3, 596)
        parts = np.stack([blocks[:, m] @ mine[:, m].T for m in range(len(MODALITIES))], axis=-1)  # (t, n, 3)
        return np.asarray(parts.reshape(*vectors.shape[:-1], len(self.shares), len(MODALITIES)))
