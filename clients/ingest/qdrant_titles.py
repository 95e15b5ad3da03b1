"""Titles read back from Qdrant, for whoever has its collections open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
from qdrant_client import models

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.qdrant_collections import Collections, version_filter
from resonance.clients.ingest.qdrant_points import (
    CONTENT_HASH,
    FINGERPRINT,
    MEDIA_ID,
    SEGMENTS,
    payload_of,
    rows_of,
    segment_id,
    segments_of,
    title_id,
)
from resonance.clients.ingest.rows import title_schema
from resonance.clients.results import SpaceRef
from resonance.space.errors import SpaceMismatchError

#: A vector is 7 KB as numbers and about 36 KB as JSON; a server takes 32 MB a request
#: (service.max_request_size_mb, https://qdrant.tech/documentation/guides/configuration/).
POINTS_AT_ONCE = 256
_TITLES_AT_ONCE = 64
#: How often a title is looked at again that was replaced while it was read.
_LOOKS = 3
EXPECTED_WHOLE = "all of them; run the job that wrote it again, or `resonance validate`"


class QdrantTitles:
    """Titles of `space`, with all of their segments or none.

    Args:
        lenient: leave out titles and segments of another space, and take titles that lack segments.
    """

    def __init__(self, uri: str, collections: Collections, space: SpaceRef, *, lenient: bool = False) -> None:
        self._uri, self._collections, self._space, self._lenient = uri, collections, space, lenient

    def all(self, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Store.titles`; with segments a title at a time.

        Raises:
            SpaceMismatchError: a title or segment is of another space.
            StoreError: a title lacks segments, or Qdrant failed.
        """
        wanted = self._schema(columns)
        vectors = "vector" in wanted.names
        with self._collections.named():
            for points in scroll(
                self._collections, self._collections.titles, _TITLES_AT_ONCE, vectors=vectors
            ):
                yield from self._batches(points, wanted)

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `Store.find`; with segments a title at a time. Errors: see `all`."""
        wanted = self._schema(columns)
        names, vectors = [title_id(m) for m in media_ids], "vector" in wanted.names
        with self._collections.named():
            for at in range(0, len(names), POINTS_AT_ONCE):
                points = self._collections.client.retrieve(
                    self._collections.titles, names[at : at + POINTS_AT_ONCE], with_vectors=vectors
                )
                yield from self._batches(points, wanted)

    def _schema(self, columns: Collection[str] | None) -> pa.Schema:
        schema = title_schema(self._space)
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

    def _is_known(self, point: models.Record) -> bool:
        """Whether a title or segment is of this space; if not, and not lenient, that is an error."""
        payload = payload_of(point)
        if payload.get(FINGERPRINT) == self._space.fingerprint:
            return True
        if not self._lenient:
            where = f"{self._uri}, title {payload[MEDIA_ID]}"
            raise SpaceMismatchError(self._space.fingerprint, str(payload.get(FINGERPRINT)), where)
        return False

    def _whole(self, title: models.Record, vectors: bool) -> tuple[models.Record, list[models.Record]] | None:
        """A title with all of its segments, at a later version if it is replaced meanwhile."""
        client, names = self._collections.client, self._collections
        for _ in range(_LOOKS):
            payload = payload_of(title)
            found = [point for point in self._segments(payload) if self._is_known(point)]
            if len(found) == payload[SEGMENTS]:
                return title, found
            again = client.retrieve(names.titles, [title.id], with_vectors=vectors)
            if not again:
                return None  # removed while it was read
            title = again[0]
        if self._lenient:
            return title, found
        came = f"title {payload[MEDIA_ID]} has {len(found)} of its {payload[SEGMENTS]} segments"
        raise StoreError(self._uri, came, EXPECTED_WHOLE)

    def _segments(self, title: dict[str, Any]) -> list[models.Record]:
        """The points of a title's segments.

        They are asked for by name, because a filter makes the embedded Qdrant look at every point. Only where
        windows without content were left out, so that indexes have gaps, is there need of one.
        """
        media_id, version, count = title[MEDIA_ID], title[CONTENT_HASH], title[SEGMENTS]
        named = [segment_id(media_id, version, index) for index in range(count)]
        found: list[models.Record] = []
        for at in range(0, count, POINTS_AT_ONCE):
            found += self._collections.client.retrieve(
                self._collections.segments, named[at : at + POINTS_AT_ONCE], with_vectors=True
            )
        if len(found) == count:
            return found
        mine = version_filter(media_id, version)
        pages = scroll(self._collections, self._collections.segments, POINTS_AT_ONCE, mine, vectors=True)
        return [point for points in pages for point in points]


def scroll(
    collections: Collections,
    name: str,
    at_once: int,
    only: models.Filter | None = None,
    *,
    vectors: bool = False,
    payload: bool | list[str] = True,
) -> Iterator[Sequence[models.Record]]:
    """All points of the collection `name`, in pages."""
    offset: Any = None
    while True:
        points, offset = collections.client.scroll(
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
