"""Titles and their segments as points of two collections of Qdrant, embedded or a server.

``NAME-titles`` has a point a title, ``NAME-segments`` one a segment. Qdrant has no transactions over points,
so the title's point is the commit: segments are written first, then the title, then segments of its earlier
version are removed. **A segment counts only while its `version` is its title's `content_hash`**; readers here
see to it, and `QdrantStore.visible` does for whoever searches.

Points are named by what they are of, so writing them again changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from qdrant_client import QdrantClient, models

from resonance.clients.credentials import is_loopback
from resonance.clients.errors import CredentialsError, UsageError, described
from resonance.clients.ingest.errors import StoreError
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
    segments_of,
    title_id,
)
from resonance.clients.ingest.rows import FINGERPRINT_KEY, SPACE_KEY, TRAINED_KEY, check_space, title_schema
from resonance.clients.ingest.types import StorageFault
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import TITLE_WIDTH
from resonance.space.errors import SpaceMismatchError

Hit = TypeVar("Hit", models.ScoredPoint, models.Record)

API_KEY_VARIABLE = "QDRANT_API_KEY"
#: A vector is 7 KB as numbers and about 36 KB as JSON; a server takes 32 MB a request
#: (service.max_request_size_mb, https://qdrant.tech/documentation/guides/configuration/).
POINTS_AT_ONCE = 256
_TITLES_AT_ONCE = 64
_NAMES_AT_ONCE = 1024
_TIMEOUT_S = 60
#: How often a title is looked at again that was replaced while it was read.
_LOOKS = 3
#: What readers and viewers filter by. Of a title its name needs none: its point is named after it.
_INDEXED = {"titles": ("tags", "language"), "segments": (MEDIA_ID, VERSION, "tags", "language")}
EXPECTED_STORE = "a store that `resonance ingest` filled"
EXPECTED_QDRANT = "a Qdrant that answers, or a folder nobody else uses"
EXPECTED_WHOLE = "all of them; run the job that wrote it again, or `resonance validate`"


class _Collections:
    """The two collections of a place.

    Raises:
        CredentialsError: the key would travel in the open. StoreError: Qdrant failed.
    """

    def __init__(self, uri: str, place: QdrantPlace) -> None:
        self.uri, self.place = uri, place
        self.titles, self.segments = f"{place.name}-titles", f"{place.name}-segments"
        key = os.environ.get(API_KEY_VARIABLE)
        with self.named():
            if place.url is None:
                self.client = QdrantClient(path=str(place.folder))
            else:
                if key and place.url.startswith("http:") and not is_loopback(urlsplit(place.url).netloc):
                    raise CredentialsError(
                        f"{uri}: {API_KEY_VARIABLE} would travel in the open; expected qdrants://"
                    )
                self.client = QdrantClient(
                    url=place.url, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False
                )

    def space(self) -> SpaceRef | None:
        """That of the vectors, None where there is no such collection."""
        with self.named():
            if not self.client.collection_exists(self.titles):
                return None
            found = self.client.get_collection(self.titles).config.metadata or {}
        if FINGERPRINT_KEY.decode() not in found:
            raise StoreError(self.uri, f"a collection {self.titles} of something else", "another name")
        return SpaceRef(
            str(found[SPACE_KEY.decode()]),
            str(found[FINGERPRINT_KEY.decode()]),
            bool(found[TRAINED_KEY.decode()]),
        )

    def make(self, space: SpaceRef) -> None:
        """Make what is not there; the one of titles last, for it says that all is there."""
        metadata = {
            FINGERPRINT_KEY.decode(): space.fingerprint,
            SPACE_KEY.decode(): space.name,
            TRAINED_KEY.decode(): space.trained,
        }
        # Vectors stay on disk: at 7 KB each, a million segments are 7 GB, and a search by HNSW reads few.
        vectors = models.VectorParams(size=TITLE_WIDTH, distance=models.Distance.DOT, on_disk=True)
        with self.named():
            for kind, name in (("segments", self.segments), ("titles", self.titles)):
                if not self.client.collection_exists(name):
                    self.client.create_collection(name, vectors_config=vectors, metadata=metadata)
                if self.place.url is not None:  # the embedded one looks at every point anyway
                    for field in _INDEXED[kind]:
                        self.client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)

    def versions(self, media_ids: Collection[str]) -> dict[str, str]:
        """The version of each title that is there, by media id."""
        wanted = [title_id(media_id) for media_id in media_ids]
        found = self.client.retrieve(self.titles, wanted, with_payload=[MEDIA_ID, CONTENT_HASH])
        return {payload_of(point)[MEDIA_ID]: payload_of(point)[CONTENT_HASH] for point in found}

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors of Qdrant name the store."""
        try:
            yield
        except (StoreError, SpaceMismatchError, UsageError):
            raise
        except Exception as error:  # of HTTP, of the server, of SQLite, and a folder that another one has
            came = described(error)
            raise StoreError(self.uri, came, EXPECTED_QDRANT) from error

    def close(self) -> None:
        self.client.close()


class QdrantSink:
    """See `resonance.clients.ingest.types.Sink`.

    Raises:
        StoreError: it cannot be opened. SpaceMismatchError: it is of another space.
    """

    def __init__(self, uri: str, place: QdrantPlace, space: SpaceRef) -> None:
        self.uri, self._space = uri, space
        self._collections = _Collections(uri, place)
        try:
            found = self._collections.space()
            if found is not None and found.fingerprint != space.fingerprint:
                raise SpaceMismatchError(found.fingerprint, space.fingerprint, uri)
            self._collections.make(space)
        except BaseException:
            self._collections.close()
            raise

    def write(self, rows: pa.Table, *, batch: str, replaces: Collection[str] = ()) -> None:
        """See `Sink.write`; `batch` is not needed, for points are named by what they are of."""
        check_space(rows, self._space, self.uri)
        titles, segments = points_of(rows, self._space)
        collections = self._collections
        with collections.named():
            for name, points in ((collections.segments, segments), (collections.titles, titles)):
                for at in range(0, len(points), POINTS_AT_ONCE):
                    collections.client.upsert(name, points[at : at + POINTS_AT_ONCE], wait=True)
            versions = dict(zip(rows["media_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
            for media_id in replaces:
                collections.client.delete(
                    collections.segments, _other_versions(media_id, versions[media_id]), wait=True
                )

    def close(self) -> None:
        """See `Sink`."""
        self._collections.close()


class QdrantStore:
    """See `resonance.clients.ingest.types.Store`.

    Args:
        lenient: leave out titles of another space, take those that lack segments, and tell of them in
            `faults`.

    Raises:
        StoreError: there are no such collections.
    """

    def __init__(self, uri: str, place: QdrantPlace, *, lenient: bool = False) -> None:
        self.uri = uri
        self._lenient = lenient
        if place.folder is not None and not place.folder.is_dir():  # the embedded one would make it
            raise StoreError(uri, "no such folder", EXPECTED_STORE)
        self._collections = _Collections(uri, place)
        try:
            space = self._collections.space()
            if space is None:
                raise StoreError(uri, "no such collections", EXPECTED_STORE)
        except BaseException:
            self._collections.close()
            raise
        self.space = space

    def count(self) -> int:
        """See `Store`."""
        with self._collections.named():
            return self._collections.client.count(self._collections.titles, exact=True).count

    def titles(self, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Store`; with segments a title at a time.

        Raises:
            SpaceMismatchError: a title is of another space. StoreError: one lacks segments, or Qdrant failed.
        """
        schema = title_schema(self.space)
        wanted = pa.schema(
            [field for field in schema if columns is None or field.name in columns], metadata=schema.metadata
        )
        vectors = "vector" in wanted.names
        with self._collections.named():
            for points in self._scroll(self._collections.titles, _TITLES_AT_ONCE, vectors=vectors):
                known = [point for point in points if self._is_known(point)]
                if "segments" not in wanted.names:
                    yield from rows_of(known, None, wanted).to_batches()
                    continue
                for point in known:
                    found = self._whole(point, vectors)
                    if found is not None:
                        yield from rows_of([found[0]], segments_of(found[1]), wanted).to_batches()

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
        client, names = self._collections.client, self._collections
        for _ in range(_LOOKS):
            payload = payload_of(title)
            mine = _version(payload[MEDIA_ID], payload[CONTENT_HASH])
            pages = self._scroll(names.segments, POINTS_AT_ONCE, mine, vectors=True)
            found = [point for points in pages for point in points]
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

    def visible(self, hits: Sequence[Hit]) -> list[Hit]:
        """Those of some segments, found with their payload, that count: their title has the same version.

        Raises:
            StoreError: Qdrant failed.
        """
        with self._collections.named():
            versions = self._collections.versions({payload_of(hit)[MEDIA_ID] for hit in hits})
        return [hit for hit in hits if versions.get(payload_of(hit)[MEDIA_ID]) == payload_of(hit)[VERSION]]

    def faults(self) -> Iterator[StorageFault]:
        """See `Store`: titles that lack segments, segments without their title, points of another space."""
        names = self._collections
        with names.named():
            fields = [MEDIA_ID, CONTENT_HASH, SEGMENTS, FINGERPRINT]
            for points in self._scroll(names.titles, _NAMES_AT_ONCE, payload=fields):
                for point in points:
                    payload = payload_of(point)
                    if payload.get(FINGERPRINT) != self.space.fingerprint:
                        yield StorageFault("title of another space", payload[MEDIA_ID])
                        continue
                    mine = _version(payload[MEDIA_ID], payload[CONTENT_HASH])
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
            points, offset = self._collections.client.scroll(
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
        self._collections.close()


def _version(media_id: str, version: str) -> models.Filter:
    return models.Filter(must=[_is(MEDIA_ID, media_id), _is(VERSION, version)])


def _other_versions(media_id: str, version: str) -> models.Filter:
    return models.Filter(must=[_is(MEDIA_ID, media_id)], must_not=[_is(VERSION, version)])


def _is(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
