"""What every library does by reading its store: titles by name, their best segments, facts, arcs."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping

import numpy as np

from resonance.clients.discovery.checks import check_finite
from resonance.clients.discovery.rows import FACTS, arcs_of, facts_of, segments_of, titles_of, vectors_of
from resonance.clients.discovery.types import FoundSegment, StoredTitle, TitleFacts
from resonance.clients.ingest.types import Store
from resonance.clients.results import Vector


class StoredLibrary:
    """The methods of `resonance.clients.discovery.types.Library` that ask for no nearest vectors."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.uri, self.space = store.uri, store.space

    def count(self) -> int:
        """See `Library`."""
        return self._store.count()

    def revision(self) -> Hashable:
        """See `Library`."""
        return self._store.revision()

    def titles(self, media_ids: Collection[str]) -> dict[str, StoredTitle]:
        """See `Library`."""
        found = {t.facts.media_id: t for batch in self._store.find(media_ids) for t in titles_of(batch)}
        for name, title in found.items():
            vectors = np.stack([title.vector, *(segment.vector for segment in title.segments)])
            check_finite(self.uri, [name] * len(vectors), vectors)
        return found

    def vectors(self, media_ids: Collection[str]) -> dict[str, Vector]:
        """See `Library`."""
        found: dict[str, Vector] = {}
        for batch in self._store.find(media_ids, ["media_id", "vector"]):
            names, vectors = batch["media_id"].to_pylist(), vectors_of(batch["vector"])
            check_finite(self.uri, names, vectors)
            found.update(zip(names, vectors, strict=True))
        return found

    def best_segments(self, vector: Vector, media_ids: Collection[str]) -> dict[str, FoundSegment]:
        """See `Library`."""
        found = {}
        for batch in self._store.find(media_ids, ["media_id", "segments"]):
            for name, parts in zip(batch["media_id"].to_pylist(), batch["segments"], strict=True):
                rows = parts.values
                if parts.is_valid and len(rows):
                    scores = vectors_of(rows.field("vector")) @ vector
                    check_finite(self.uri, [name] * len(scores), scores)
                    best = int(np.argmax(scores))
                    (segment,) = segments_of(rows.take([best]))
                    found[name] = FoundSegment(name, segment)
        return found

    def facts(self, media_ids: Collection[str] | None = None) -> Iterator[TitleFacts]:
        """See `Library`."""
        chosen = self._store.titles(FACTS) if media_ids is None else self._store.find(media_ids, FACTS)
        for batch in chosen:
            yield from map(facts_of, batch.to_pylist())

    def arcs(
        self, media_ids: Collection[str] | None = None
    ) -> Iterator[tuple[str, Mapping[str, list[tuple[float, float]]]]]:
        """See `Library`."""
        wanted = ["media_id", "arcs"]
        chosen = self._store.titles(wanted) if media_ids is None else self._store.find(media_ids, wanted)
        for batch in chosen:
            for row in batch.to_pylist():
                yield row["media_id"], arcs_of(row["arcs"])

    def close(self) -> None:
        """See `Library`."""
        self._store.close()
