"""Results that do not repeat themselves: maximal marginal relevance.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking" (SIGIR 1998): the next result is the one
of the largest (1 - diversity) * relevance - diversity * (largest similarity to a result already taken).

Relevance is a score, similarity a cosine. A modality gap puts each on a scale of its own, so both are put on
0..1 over the candidates at hand, the least 0 and the largest 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resonance.clients.errors import UsageError

Doubles = NDArray[np.float64]
#: Candidates of which the cosines with all others are held at once.
_AT_ONCE = 256


def diverse(scores: Doubles, vectors: Doubles, limit: int, diversity: float) -> list[int]:
    """Indices of `limit` candidates in the order in which they are taken.

    Args:
        scores: float64 [n]. vectors: of unit norm, float64 [n, d].
        diversity: 0 for the best scores alone, 1 for what is least like what was taken (after the best one).

    Raises:
        UsageError: a diversity outside 0 to 1.
    """
    if not 0 <= diversity <= 1:
        raise UsageError(f"diversity {diversity}; expected 0 to 1")
    best = [int(i) for i in np.argsort(-scores, kind="stable")]
    if diversity == 0 or len(best) < 2:
        return best[:limit]
    relevance = _on_0_to_1(scores)
    low, high = _between_pairs(vectors)
    spread = max(high - low, np.finfo(np.float64).tiny)
    taken = best[:1]
    nearest = np.full(len(best), -np.inf)
    while len(taken) < min(limit, len(best)):
        nearest = np.maximum(nearest, (vectors @ vectors[taken[-1]] - low) / spread)  # (n)
        worth = (1 - diversity) * relevance - diversity * nearest
        worth[taken] = -np.inf
        taken.append(int(np.argmax(worth)))
    return taken


def _between_pairs(vectors: Doubles) -> tuple[float, float]:
    """The least and the largest cosine of two candidates, of [n, d] by blocks: all pairs are n^2 numbers."""
    low, high = np.inf, -np.inf
    for first in range(0, len(vectors), _AT_ONCE):
        similarity = vectors[first : first + _AT_ONCE] @ vectors[first:].T  # (b, n - first)
        np.fill_diagonal(similarity, np.inf)  # a candidate beside itself is no pair
        low = min(low, float(similarity.min()))
        np.fill_diagonal(similarity, -np.inf)
        high = max(high, float(similarity.max()))
    return low, high


def _on_0_to_1(values: Doubles) -> Doubles:
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.ones_like(values)
