"""Titles and their segments as points of two collections of Qdrant, embedded or a server.

``NAME-titles`` has a point a title, ``NAME-segments`` one a segment. Qdrant has no transactions over points,
so the title's point is the commit: segments are written first, then the title, then segments of its earlier
version are removed. **A segment counts only while its `version` is its title's `content_hash`**; readers here
see to it, and `QdrantStore.visible` does for whoever searches.

Points are named by what they are of, so writing them again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import pyarrow as pa
from qdrant_client import models

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.labels import LABELS, has_labels, with_labels
from resonance.clients.ingest.qdrant_collections import (
    Collections,
    other_versions,
    titles_filter,
    version_filter,
)
from resonance.clients.ingest.qdrant_place import QdrantPlace
from resonance.clients.ingest.qdrant_points import (
    CONTENT_HASH,
    FINGERPRINT,
    MEDIA_ID,
    SEGMENTS,
    VERSION,
    payload_of,
    points_of,
    title_id,
)
from resonance.clients.ingest.qdrant_titles import POINTS_AT_ONCE, QdrantTitles, scroll
from resonance.clients.ingest.rows import check_space
from resonance.clients.ingest.types import CatalogueItem, StorageFault
from resonance.clients.results import SpaceRef
from resonance.space.errors import SpaceMismatchError

Hit = TypeVar("Hit", models.ScoredPoint, models.Record)

_NAMES_AT_ONCE = 1024
_RELABELLED_AT_ONCE = 64
EXPECTED_STORE = "a store that `resonance ingest` filled"


class QdrantSink:
    """See `resonance.clients.ingest.types.Sink`.

    Raises:
        StoreError: it cannot be opened. SpaceMismatchError: it is of another space.
    """

    def __init__(self, uri: str, place: QdrantPlace, space: SpaceRef) -> None:
        self.uri, self._space = uri, space
        self.collections = Collections(uri, place)
        try:
            found = self.collections.space()
            if found is not None and found.fingerprint != space.fingerprint:
                raise SpaceMismatchError(found.fingerprint, space.fingerprint, uri)
            self.collections.make(space)
        except BaseException:
            self.collections.close()
            raise

    def write(self, rows: pa.Table, *, batch: str, replaces: Collection[str] = ()) -> None:
        """See `Sink.write`; `batch` is not needed, for points are named by what they are of."""
        check_space(rows, self._space, self.uri)
        titles, segments = points_of(rows, self._space)
        collections = self.collections
        with collections.named():
            for name, points in ((collections.segments, segments), (collections.titles, titles)):
                for at in range(0, len(points), POINTS_AT_ONCE):
                    collections.client.upsert(name, points[at : at + POINTS_AT_ONCE], wait=True)
            versions = dict(zip(rows["media_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
            for media_id in replaces:
                collections.client.delete(
                    collections.segments, other_versions(media_id, versions[media_id]), wait=True
                )

    def remove(self, media_ids: Collection[str]) -> None:
        """See `Sink`. Titles first: segments without one are seen by nobody."""
        collections, names = self.collections, list(media_ids)
        with collections.named():
            for at in range(0, len(names), _NAMES_AT_ONCE):
                some = names[at : at + _NAMES_AT_ONCE]
                points = models.PointIdsList(points=[title_id(name) for name in some])
                collections.client.delete(collections.titles, points, wait=True)
                collections.client.delete(collections.segments, titles_filter(some), wait=True)

    def groups(self, media_ids: Sequence[str]) -> Iterator[list[str]]:
        """See `Sink`: any will do."""
        for at in range(0, len(media_ids), _RELABELLED_AT_ONCE):
            yield list(media_ids[at : at + _RELABELLED_AT_ONCE])

    def relabel(self, items: Mapping[str, CatalogueItem]) -> None:
        """See `Sink`. A title is written anew at the same version, so none of its segments is hidden."""
        said = (row for batch in self.find(items, ["media_id", *LABELS]) for row in batch.to_pylist())
        stale = [row["media_id"] for row in said if not has_labels(items[row["media_id"]], row)]
        for batch in self.find(stale):
            self.write(with_labels(pa.Table.from_batches([batch]), items, self._space), batch="labels")

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `Sink` and `QdrantTitles.find`."""
        return QdrantTitles(self.uri, self.collections, self._space).find(media_ids, columns)

    def lacking(self, titles: Iterable[tuple[str, str | None]]) -> Iterator[str]:
        """See `Sink`."""
        rest = iter(titles)
        with self.collections.named():
            while some := dict(islice(rest, _NAMES_AT_ONCE)):
                there = self.collections.versions(some)
                for name, version in some.items():
                    if name not in there or version not in (None, there[name]):
                        yield name

    def is_empty(self) -> bool:
        """See `Sink`."""
        return self.collections.count() == 0

    def close(self) -> None:
        """See `Sink`."""
        self.collections.close()


class QdrantStore:
    """See `resonance.clients.ingest.types.Store`.

    Args:
        lenient: leave out titles of another space, take those that lack segments, and tell of them in
            `faults`.

    Attributes:
        collections: what it reads, for whoever searches.

    Raises:
        StoreError: there are no such collections.
    """

    def __init__(self, uri: str, place: QdrantPlace, *, lenient: bool = False) -> None:
        self.uri = uri
        if place.folder is not None and not place.folder.is_dir():  # the embedded one would make it
            raise StoreError(uri, "no such folder", EXPECTED_STORE)
        self.collections = Collections(uri, place)
        try:
            space = self.collections.space()
            if space is None:
                raise StoreError(uri, "no such collections", EXPECTED_STORE)
        except BaseException:
            self.collections.close()
            raise
        self.space = space
        self._titles = QdrantTitles(uri, self.collections, space, lenient=lenient)

    def count(self) -> int:
        """See `Store`."""
        return self.collections.count()

    def titles(
        self, columns: Collection[str] | None = None, *, all_or_error: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """See `Store` and `QdrantTitles.all`; it has no files that may go."""
        return self._titles.all(columns)

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `Store` and `QdrantTitles.find`."""
        return self._titles.find(media_ids, columns)

    def visible(self, hits: Sequence[Hit]) -> list[Hit]:
        """Those of some segments, found with their payload, that count: their title has the same version.

        Raises:
            StoreError: Qdrant failed.
        """
        with self.collections.named():
            versions = self.collections.versions({payload_of(hit)[MEDIA_ID] for hit in hits})
        return [hit for hit in hits if versions.get(payload_of(hit)[MEDIA_ID]) == payload_of(hit)[VERSION]]

    def revision(self) -> int:
        """See `Store`: the number of titles, for Qdrant tells no more."""
        return self.count()

    def faults(self) -> Iterator[StorageFault]:
        """See `Store`: titles that lack segments, segments without their title, points of another space."""
        names = self.collections
        with names.named():
            fields = [MEDIA_ID, CONTENT_HASH, SEGMENTS, FINGERPRINT]
            for points in scroll(names, names.titles, _NAMES_AT_ONCE, payload=fields):
                for point in points:
                    payload = payload_of(point)
                    if payload.get(FINGERPRINT) != self.space.fingerprint:
                        yield StorageFault("title of another space", payload[MEDIA_ID])
                        continue
                    mine = version_filter(payload[MEDIA_ID], payload[CONTENT_HASH])
                    if names.client.count(names.segments, mine, exact=True).count != payload[SEGMENTS]:
                        yield StorageFault("title that lacks segments", payload[MEDIA_ID])
            fields = [MEDIA_ID, VERSION, FINGERPRINT]
            for points in scroll(names, names.segments, _NAMES_AT_ONCE, payload=fields):
                counted = {point.id for point in self.visible(points)}
                for point in points:
                    payload = payload_of(point)
                    if payload.get(FINGERPRINT) != self.space.fingerprint:
                        yield StorageFault("segment of another space", payload[MEDIA_ID])
                    elif point.id not in counted:
                        yield StorageFault("segment without its title", payload[MEDIA_ID])

    def close(self) -> None:
        """See `Store`."""
        self.collections.close()
