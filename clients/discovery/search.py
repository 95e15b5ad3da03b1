"""A search: the library finds candidates, `resonance.space` scores them exactly and says why.

A store compares float32 vectors, maybe quantised and through an approximate index. So more candidates than
are wanted are asked for, and every one is scored again from its stored vector, in float64, by the formula
that also explains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resonance.clients.discovery.diversity import diverse
from resonance.clients.discovery.reading import known_title
from resonance.clients.discovery.types import Filter, FoundSegment, FoundTitle, Library, TitleFacts
from resonance.clients.errors import UsageError
from resonance.clients.results import Segment, Vector
from resonance.space.descriptor import TITLE_WIDTH, Descriptor
from resonance.space.scores import (
    Query,
    Share,
    Weights,
    explain,
    query_from_vector,
    require_same_space,
    score,
)

#: Candidates asked for: this many times what is wanted, and at least so many, because the order of the store
#: is not the exact one.
TIMES_WANTED, LEAST_CANDIDATES = 2, 20
#: With diversity, candidates that stand for choice. The next result depends on those before it and on the
#: candidates, so of as many candidates the results of a smaller limit are the first of a larger one: up to
#: LEAST_FOR_DIVERSITY / TIMES_FOR_DIVERSITY = 40 results.
TIMES_FOR_DIVERSITY, LEAST_FOR_DIVERSITY = 5, 200


def told_shares(shares: Sequence[Share]) -> dict[str, dict[str, float | bool]]:
    """Shares by modality as JSON has them."""
    return {share.modality: {"value": share.value, "inferred": share.inferred} for share in shares}


@dataclass(frozen=True, slots=True)
class SegmentMatch:
    """The segment of a title that answers a query best; times None for text without a clock."""

    index: int
    start_s: float | None
    end_s: float | None
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class TitleHit:
    """A title found.

    Attributes:
        vector: float32 [1788]. score: the sum of `shares`, one a block.
        segment: its best segment by the same query; None where none is stored.
    """

    facts: TitleFacts
    vector: Vector
    score: float
    shares: tuple[Share, ...]
    segment: SegmentMatch | None


@dataclass(frozen=True, slots=True)
class SegmentHit:
    """A segment found; `score` is the sum of `shares`."""

    facts: TitleFacts
    segment: Segment
    score: float
    shares: tuple[Share, ...]


class Searcher:
    """Searches one library. Blocks.

    Args:
        descriptor: of the space that queries are embedded into.

    Raises:
        SpaceMismatchError: the library is of another space.
    """

    def __init__(self, library: Library, descriptor: Descriptor) -> None:
        require_same_space(descriptor.fingerprint, library.space.fingerprint, library.uri)
        self.library, self.descriptor = library, descriptor

    def like(self, media_id: str) -> Query:
        """The query "like this title".

        Raises:
            UsageError: the library has no such title.
        """
        return query_from_vector(known_title(self.library, media_id).vector, self.descriptor)

    def find_titles(
        self,
        query: Query,
        weights: Weights,
        *,
        limit: int = 10,
        only: Filter | None = None,
        diversity: float = 0.0,
    ) -> list[TitleHit]:
        """The best titles, best first; with `diversity` in the order in which they are taken, of which a
        smaller limit has the first up to 40.

        Raises:
            StoreError: the store cannot be read. UsageError: a limit below 1, a diversity outside 0 to 1.
        """
        wanted = _candidates(limit, diversity)
        vector = _direction(query, weights)
        found = self.library.nearest_titles(vector, wanted, only or Filter())
        vectors = [title.vector for title in found]
        chosen = [found[at] for at in _taken(query, weights, vectors, limit, diversity)]
        best = self.library.best_segments(vector, [title.facts.media_id for title in chosen])
        return [_hit(title, query, weights, best.get(title.facts.media_id)) for title in chosen]

    def find_segments(
        self,
        query: Query,
        weights: Weights,
        *,
        limit: int = 10,
        only: Filter | None = None,
        diversity: float = 0.0,
    ) -> list[SegmentHit]:
        """The best segments of all titles; see `find_titles`."""
        wanted = _candidates(limit, diversity)
        vector = _direction(query, weights)
        found = self.library.nearest_segments(vector, wanted, only or Filter())
        vectors = [hit.segment.vector for hit in found]
        chosen = [found[at] for at in _taken(query, weights, vectors, limit, diversity)]
        return self._with_facts(chosen, query, weights)

    def _with_facts(self, chosen: Sequence[FoundSegment], query: Query, weights: Weights) -> list[SegmentHit]:
        known = {facts.media_id: facts for facts in self.library.facts({hit.media_id for hit in chosen})}
        hits = []
        for hit in chosen:
            if hit.media_id in known:  # else it was removed meanwhile
                told = explain(query, weights, hit.segment.vector, hit.segment.present)
                hits.append(SegmentHit(known[hit.media_id], hit.segment, told.score, told.shares))
        return hits


def _direction(query: Query, weights: Weights) -> Vector:
    """What the store is asked with, float32 [1788]. Its length changes no order; its largest number is 1, for
    weights that float64 holds may be none in float32."""
    wanted = query.weighted(weights)
    largest = float(np.abs(wanted).max())
    return (wanted / (largest or 1.0)).astype(np.float32)


def _hit(title: FoundTitle, query: Query, weights: Weights, best: FoundSegment | None) -> TitleHit:
    told = explain(query, weights, title.vector, title.facts.present)
    match = None
    if best is not None:
        segment = best.segment
        alike = float(score(query, weights, segment.vector))
        match = SegmentMatch(segment.index, segment.start_s, segment.end_s, alike)
    return TitleHit(title.facts, title.vector, told.score, told.shares, match)


def _candidates(limit: int, diversity: float) -> int:
    if limit < 1:
        raise UsageError(f"limit {limit}; expected at least 1")
    if diversity > 0:
        return max(TIMES_FOR_DIVERSITY * limit, LEAST_FOR_DIVERSITY)
    return max(TIMES_WANTED * limit, LEAST_CANDIDATES)


def _taken(
    query: Query, weights: Weights, vectors: Sequence[Vector], limit: int, diversity: float
) -> list[int]:
    """Indices of the candidates [n] of float32 [1788] that are results, by their exact scores."""
    stacked = np.asarray(vectors, np.float64).reshape(len(vectors), TITLE_WIDTH)  # (n, 1788)
    return diverse(score(query, weights, stacked), stacked, limit, diversity)
