"""The moments of two titles that are most alike, by the arithmetic that scores titles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.space.blocks import FloatArray, check_vectors, unit
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH, Descriptor
from resonance.space.errors import BlockError
from resonance.space.scores import Weights, query_from_vector, score

#: Rows compared at a time: 14 MB of float64 a side and 8 MB of products, however long the titles are.
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """Row `query` of the one side and row `title` of the other, and their score."""

    query: int
    title: int
    score: float


def best_pair(
    queries: NDArray[np.floating[Any]],
    titles: NDArray[np.floating[Any]],
    weights: Weights,
    descriptor: Descriptor,
) -> Pair:
    """The rows of `queries` [n, 1788] and `titles` [m, 1788] of the largest score; of equal ones the first.

    The score of rows i and j is ``score(query_from_vector(queries[i]), weights, titles[j])``; all of them are
    a product of two matrices, made a piece at a time.

    Raises:
        BlockError: another shape, no rows, numbers that are not finite, or a block without direction.
        WeightError: weights so large that scores are not finite.
    """
    for name, rows in (("queries", queries), ("titles", titles)):
        if rows.ndim != 2 or rows.shape[-1] != TITLE_WIDTH or not len(rows):
            raise BlockError(f"{name} of shape {rows.shape}; expected (n, {TITLE_WIDTH}), n at least 1")
    kept = weights.array() > 0  # a block of weight 0 need not be multiplied
    scales = (weights.array() / [descriptor.sigmas[m][m] for m in MODALITIES])[kept, None]
    found = []
    for j, right in _pieces(titles, kept):
        for i, left in _pieces(queries, kept):
            weighted = unit(left) * scales  # (k, kept, 596)
            scores = weighted.reshape(len(left), -1) @ right.reshape(len(right), -1).T
            at, to = np.unravel_index(int(np.argmax(scores)), scores.shape)
            found.append(Pair(i + int(at), j + int(to), float(scores[at, to])))
    best = min(found, key=lambda pair: (-pair.score, pair.query, pair.title))
    query = query_from_vector(queries[best.query], descriptor)
    return replace(best, score=float(score(query, weights, titles[best.title])))


def _pieces(rows: NDArray[np.floating[Any]], kept: NDArray[np.bool_]) -> Iterator[tuple[int, FloatArray]]:
    """Where each piece begins, and its blocks float64 [k, kept, 596]."""
    for at in range(0, len(rows), ROWS_AT_ONCE):
        piece = check_vectors(rows[at : at + ROWS_AT_ONCE])
        yield at, piece.reshape(len(piece), len(MODALITIES), BLOCK_WIDTH)[:, kept]
