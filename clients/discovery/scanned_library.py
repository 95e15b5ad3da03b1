"""A library whose store has no index: each search reads every vector, a batch at a time."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resonance.clients.discovery.checks import check_finite
from resonance.clients.discovery.masks import present_taken, rows_taken
from resonance.clients.discovery.rows import FACTS, facts_of, segments_of, vectors_of
from resonance.clients.discovery.stored_library import StoredLibrary
from resonance.clients.discovery.types import Filter, FoundSegment, FoundTitle
from resonance.clients.results import Vector

Found = TypeVar("Found")


class ScannedLibrary(StoredLibrary):
    """See `resonance.clients.discovery.types.Library`.

    Exact, and as slow as the store is long: 7 KB a title are read, or a segment. What a filter leaves out is
    left out before it counts.
    """

    def nearest_titles(self, vector: Vector, limit: int, only: Filter) -> list[FoundTitle]:
        """See `Library`."""
        best: _Best[FoundTitle] = _Best(limit)
        for batch in self._store.titles([*FACTS, "vector"]):
            taken = np.flatnonzero(rows_taken(batch, only))
            if not len(taken):
                continue
            vectors = vectors_of(batch["vector"])
            light = batch.drop_columns(["vector"])
            scores = (vectors @ vector)[taken]
            check_finite(self.uri, batch["media_id"].take(pa.array(taken)), scores)
            for at in np.argsort(-scores, kind="stable"):
                if not best.would_take(scores[at]):
                    break
                (row,) = light.slice(taken[at], 1).to_pylist()
                # a copy: a view would keep the whole batch
                best.add(scores[at], FoundTitle(facts_of(row), vectors[taken[at]].copy()))
        return best.found()

    def nearest_segments(self, vector: Vector, limit: int, only: Filter) -> list[FoundSegment]:
        """See `Library`."""
        best: _Best[FoundSegment] = _Best(limit)
        for batch in self._store.titles([*FACTS, "segments"]):
            rows = batch["segments"].flatten()
            owners = pc.list_parent_indices(batch["segments"]).to_numpy()
            taken = np.flatnonzero(
                rows_taken(batch, only)[owners] & present_taken(rows.field("present"), only)
            )
            if not len(taken):
                continue
            names = batch["media_id"].take(pa.array(owners[taken]))
            scores = (vectors_of(rows.field("vector")) @ vector)[taken]
            check_finite(self.uri, names, scores)
            for at in np.argsort(-scores, kind="stable"):
                if not best.would_take(scores[at]):
                    break
                (segment,) = segments_of(rows.take([taken[at]]))
                best.add(scores[at], FoundSegment(names[at].as_py(), segment))
        return best.found()


class _Best(Generic[Found]):
    """The `limit` things of the largest scores; of equal ones those that came first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, Found]] = []
        self._order = count(0, -1)  # of equal scores the later one is the smaller

    def would_take(self, score: float) -> bool:
        """Whether a thing of this score would be kept."""
        return len(self._heap) < self._limit or (self._limit > 0 and score > self._heap[0][0])

    def add(self, score: float, thing: Found) -> None:
        """Keep it, and let the least go where there are too many."""
        heapq.heappush(self._heap, (float(score), next(self._order), thing))
        if len(self._heap) > self._limit:
            heapq.heappop(self._heap)

    def found(self) -> list[Found]:
        """Best first."""
        return [thing for _, _, thing in sorted(self._heap, reverse=True, key=lambda entry: entry[:2])]
