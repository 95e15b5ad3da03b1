"""Titles and their segments as points of two collections of Qdrant, embedded or a server.

``NAME-titles`` has a point a title, ``NAME-segments`` one a segment. Qdrant has no transactions over points,
so the title's point is the commit: segments are written first, then the title, then segments of its earlier
version are removed. **A segment counts only while its `version` is its title's `content_hash`**; readers here
see to it, and `QdrantStore.visible` does for whoever searches.

Points are named by what they are of, so writing them again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from qdrant_client import models

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.qdrant_collections import Collections, other_versions, version_filter
from resonance.clients.ingest.qdrant_place import QdrantPlace
from resonance.clients.ingest.qdrant_points import (
    CONTENT_HASH,
    FINGERPRINT,
    MEDIA_ID,
    SEGMENTS,
    VERSION,
    payload_of,
    points_of,
    rows_of,
    segment_id,
    segments_of,
    title_id,
)
from resonance.clients.ingest.rows import check_space, title_schema
from resonance.clients.ingest.types import StorageFault
from resonance.clients.results import SpaceRef
from resonance.space.errors import SpaceMismatchError

Hit = TypeVar("Hit", models.ScoredPoint, models.Record)

#: A vector is 7 KB as numbers and about 36 KB as JSON; a server takes 32 MB a request
#: (service.max_request_size_mb, https://qdrant.tech/documentation/guides/configuration/).
POINTS_AT_ONCE = 256
_TITLES_AT_ONCE = 64
_NAMES_AT_ONCE = 1024
#: How often a title is looked at again that was replaced while it was read.
_LOOKS = 3
EXPECTED_STORE = "a store that `resonance ingest` filled"
EXPECTED_WHOLE = "all of them; run the job that wrote it again, or `resonance validate`"


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
        self._lenient = lenient
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

    def count(self) -> int:
        """See `Store`."""
        with self.collections.named():
            return self.collections.client.count(self.collections.titles, exact=True).count

    def titles(self, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Store`; with segments a title at a time.

        Raises:
            SpaceMismatchError: a title is of another space. StoreError: one lacks segments, or Qdrant failed.
        """
        wanted = self._schema(columns)
        vectors = "vector" in wanted.names
        with self.collections.named():
            for points in self._scroll(self.collections.titles, _TITLES_AT_ONCE, vectors=vectors):
                yield from self._batches(points, wanted)

    def _schema(self, columns: Collection[str] | None) -> pa.Schema:
        schema = title_schema(self.space)
        chosen = [field for field in schema if columns is None or field.name in columns]
        return pa.schema(chosen, metadata=schema.metadata)

    def _batches(self, points: Sequence[models.Record], wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Rows of titles' points with the columns of `wanted`."""
        known = [point for point in points if self._is_known(point)]
        if "segments" not in wanted.names:
            yield from rows_of(known, None, wanted).to_batches()
            return
        for point in known:
            found = self._whole(point, "vector" in wanted.names)
            if found is not None:
                yield from rows_of([found[0]], segments_of(found[1]), wanted).to_batches()

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `Store`; with segments a title at a time."""
        wanted = self._schema(columns)
        names, vectors = [title_id(m) for m in media_ids], "vector" in wanted.names
        with self.collections.named():
            points = self.collections.client.retrieve(self.collections.titles, names, with_vectors=vectors)
            yield from self._batches(points, wanted)

    def _is_known(self, title: models.Record) -> bool:
        """Whether it is of this space; if not, and not lenient, that is an error."""
        payload = payload_of(title)
        if payload.get(FINGERPRINT) == self.space.fingerprint:
            return True
        if not self._lenient:
            where = f"{self.uri}, title {payload[MEDIA_ID]}"
            raise SpaceMismatchError(self.space.fingerprint, str(payload.get(FINGERPRINT)), where)
        return False

    def _whole(self, title: models.Record, vectors: bool) -> tuple[models.Record, list[models.Record]] | None:
        """A title with all of its segments, at a later version if it is replaced meanwhile."""
        client, names = self.collections.client, self.collections
        for _ in range(_LOOKS):
            payload = payload_of(title)
            found = self._segments(payload)
            if len(found) == payload[SEGMENTS]:
                return title, found
            again = client.retrieve(names.titles, [title.id], with_vectors=vectors)
            if not again:
                return None  # removed while it was read
            title = again[0]
        if self._lenient:
            return title, found
        came = f"title {payload[MEDIA_ID]} has {len(found)} of its {payload[SEGMENTS]} segments"
        raise StoreError(self.uri, came, EXPECTED_WHOLE)

    def _segments(self, title: dict[str, Any]) -> list[models.Record]:
        """The points of a title's segments.

        They are asked for by name, because a filter makes the embedded Qdrant look at every point. Only where
        windows without content were left out, so that indexes have gaps, is there need of one.
        """
        media_id, version, count = title[MEDIA_ID], title[CONTENT_HASH], title[SEGMENTS]
        named = [segment_id(media_id, version, index) for index in range(count)]
        found: list[models.Record] = []
        for at in range(0, count, POINTS_AT_ONCE):
            found += self.collections.client.retrieve(
                self.collections.segments, named[at : at + POINTS_AT_ONCE], with_vectors=True
            )
        if len(found) == count:
            return found
        mine = version_filter(media_id, version)
        pages = self._scroll(self.collections.segments, POINTS_AT_ONCE, mine, vectors=True)
        return [point for points in pages for point in points]

    def visible(self, hits: Sequence[Hit]) -> list[Hit]:
        """Those of some segments, found with their payload, that count: their title has the same version.

        Raises:
            StoreError: Qdrant failed.
        """
        with self.collections.named():
            versions = self.collections.versions({payload_of(hit)[MEDIA_ID] for hit in hits})
        return [hit for hit in hits if versions.get(payload_of(hit)[MEDIA_ID]) == payload_of(hit)[VERSION]]

    def faults(self) -> Iterator[StorageFault]:
        """See `Store`: titles that lack segments, segments without their title, points of another space."""
        names = self.collections
        with names.named():
            fields = [MEDIA_ID, CONTENT_HASH, SEGMENTS, FINGERPRINT]
            for points in self._scroll(names.titles, _NAMES_AT_ONCE, payload=fields):
                for point in points:
                    payload = payload_of(point)
                    if payload.get(FINGERPRINT) != self.space.fingerprint:
                        yield StorageFault("title of another space", payload[MEDIA_ID])
                        continue
                    mine = version_filter(payload[MEDIA_ID], payload[CONTENT_HASH])
                    if names.client.count(names.segments, mine, exact=True).count != payload[SEGMENTS]:
                        yield StorageFault("title that lacks segments", payload[MEDIA_ID])
            fields = [MEDIA_ID, VERSION, FINGERPRINT]
            for points in self._scroll(names.segments, _NAMES_AT_ONCE, payload=fields):
                counted = {point.id for point in self.visible(points)}
                for point in points:
                    payload = payload_of(point)
                    if payload.get(FINGERPRINT) != self.space.fingerprint:
                        yield StorageFault("segment of another space", payload[MEDIA_ID])
                    elif point.id not in counted:
                        yield StorageFault("segment without its title", payload[MEDIA_ID])

    def _scroll(
        self,
        name: str,
        at_once: int,
        only: models.Filter | None = None,
        *,
        vectors: bool = False,
        payload: bool | list[str] = True,
    ) -> Iterator[Sequence[models.Record]]:
        offset: Any = None
        while True:
            points, offset = self.collections.client.scroll(
                name,
                scroll_filter=only,
                limit=at_once,
                offset=offset,
                with_vectors=vectors,
                with_payload=payload,
            )
            if points:
                yield points
            if offset is None:
                return

    def close(self) -> None:
        """See `Store`."""
        self.collections.close()
