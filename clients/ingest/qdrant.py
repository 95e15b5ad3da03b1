"""Titles and their segments as points of two collections of Qdrant, embedded or a server.

``NAME-titles`` has a point a title, ``NAME-segments`` one a segment. Qdrant has no transactions over points,
so the title's point is the commit: segments are written first, then the title, then segments of its earlier
version are removed. **A segment counts only while its title has the same `version`**; readers here see to it.

Points are named by what they are of, so writing them again changes nothing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.rows import FINGERPRINT_KEY, SPACE_KEY, TRAINED_KEY, check_space, title_schema
from resonance.clients.ingest.stores import QdrantPlace
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import TITLE_WIDTH
from resonance.space.errors import SpaceMismatchError

API_KEY_VARIABLE = "QDRANT_API_KEY"
#: A point is 7 KB as numbers and three times that as JSON; a server takes 32 MiB a request by default.
POINTS_AT_ONCE = 256
_TITLES_AT_ONCE = 64
_TIMEOUT_S = 60
_NAMESPACE = uuid.UUID("6d1a3c52-6c0e-4b1e-9f5c-0a4b8d2a7f31")  # of this project's points
#: Payload that is filtered by: which title, and what viewers ask for.
_INDEXED = ("media_id", "version", "tags", "language")
#: Maps are lists of pairs in Arrow and objects in a payload.
_MAPS = ("attributes", "arcs", "axes")
_SEGMENT_MAPS = ("signals", "axes")


class _Collections:
    """The two collections of a place."""

    def __init__(self, uri: str, place: QdrantPlace) -> None:
        self.uri, self.place = uri, place
        self.titles, self.segments = f"{place.name}-titles", f"{place.name}-segments"
        with self.named():
            if place.url is None:
                self.client = QdrantClient(path=str(place.folder))
            else:
                key = os.environ.get(API_KEY_VARIABLE)
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
        with self.named():
            for name in (self.segments, self.titles):
                if self.client.collection_exists(name):
                    continue
                self.client.create_collection(
                    name,
                    vectors_config=models.VectorParams(
                        size=TITLE_WIDTH, distance=models.Distance.DOT, on_disk=True
                    ),
                    metadata=metadata,
                )
                if self.place.url is not None:  # the embedded one looks at every point anyway
                    for field in _INDEXED:
                        self.client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors of Qdrant name the store."""
        try:
            yield
        except (StoreError, SpaceMismatchError):
            raise
        except Exception as error:  # of HTTP, of the server, of SQLite, and a folder that another one has
            came = " ".join(f"{type(error).__name__}: {error}".split())
            raise StoreError(self.uri, came, "a Qdrant that answers, or a folder nobody else uses") from error

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
        titles, segments = _points(rows)
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

    Raises:
        StoreError: there are no such collections.
    """

    def __init__(self, uri: str, place: QdrantPlace) -> None:
        self.uri = uri
        self._collections = _Collections(uri, place)
        space = self._collections.space()
        if space is None:
            self._collections.close()
            raise StoreError(uri, "no such collections", "a store that `resonance ingest` filled")
        self.space = space

    def count(self) -> int:
        """See `Store`."""
        with self._collections.named():
            return self._collections.client.count(self._collections.titles, exact=True).count

    def titles(self, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Store`."""
        schema = title_schema(self.space)
        names = [name for name in schema.names if columns is None or name in columns]
        wanted = pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
        with self._collections.named():
            for points in self._scroll(self._collections.titles, None, _TITLES_AT_ONCE, "vector" in names):
                yield from pa.Table.from_pylist(
                    [self._row(point, names) for point in points], schema=wanted
                ).to_batches()

    def stray_segments(self) -> int:
        """Segments whose title is not there, or has another version: of a write that was broken off."""
        strays = 0
        versions: dict[str, str | None] = {}
        with self._collections.named():
            for points in self._scroll(self._collections.segments, None, POINTS_AT_ONCE, vectors=False):
                for point in points:
                    media_id = _payload(point)["media_id"]
                    if media_id not in versions:
                        found = self._collections.client.retrieve(
                            self._collections.titles, [title_id(media_id)]
                        )
                        versions[media_id] = _payload(found[0])["version"] if found else None
                    strays += versions[media_id] != _payload(point)["version"]
        return strays

    def _scroll(
        self, name: str, only: models.Filter | None, at_once: int, vectors: bool
    ) -> Iterator[Sequence[models.Record]]:
        offset: Any = None
        while True:
            points, offset = self._collections.client.scroll(
                name, scroll_filter=only, limit=at_once, offset=offset, with_vectors=vectors
            )
            if points:
                yield points
            if offset is None:
                return

    def _row(self, point: models.Record, names: Sequence[str]) -> dict[str, Any]:
        payload = _payload(point)
        row = {name: payload.get(name) for name in names}
        if "content_hash" in names:
            row["content_hash"] = payload["version"]
        if "vector" in names:
            row["vector"] = _float32(point.vector)
        for name in _MAPS:
            if name in names:
                row[name] = list(payload[name].items())
        if "segments" in names:
            mine = _version(payload["media_id"], payload["version"])
            found = [
                p
                for points in self._scroll(self._collections.segments, mine, POINTS_AT_ONCE, vectors=True)
                for p in points
            ]
            row["segments"] = sorted((_segment(p) for p in found), key=lambda segment: segment["index"])
        return row

    def close(self) -> None:
        """See `Store`."""
        self._collections.close()


def title_id(media_id: str) -> str:
    """The point of a title."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([media_id])))


def segment_id(media_id: str, version: str, index: int) -> str:
    """The point of a segment of one version of a title."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([media_id, version, index])))


def _points(rows: pa.Table) -> tuple[list[models.PointStruct], list[models.PointStruct]]:
    """Points of titles, and of their segments."""
    titles, segments = [], []
    lists = rows["segments"].combine_chunks()
    for row, title, vector in zip(
        rows.drop_columns(["segments", "vector"]).to_pylist(), lists, _vectors(rows["vector"]), strict=True
    ):
        version = row.pop("content_hash")
        for name in _MAPS:
            row[name] = dict(row[name])
        titles.append(
            models.PointStruct(
                id=title_id(row["media_id"]), vector=vector, payload={**row, "version": version}
            )
        )
        shared = {key: row[key] for key in ("media_id", "tags", "language")}
        parts = title.values
        fields = pa.StructArray.from_arrays(
            [parts.field(f.name) for f in parts.type if f.name != "vector"],
            fields=[f for f in parts.type if f.name != "vector"],
        )
        for segment, numbers in zip(fields.to_pylist(), _vectors(parts.field("vector")), strict=True):
            for name in _SEGMENT_MAPS:
                segment[name] = dict(segment[name])
            segments.append(
                models.PointStruct(
                    id=segment_id(row["media_id"], version, segment["index"]),
                    vector=numbers,
                    payload={**shared, "version": version, **segment},
                )
            )
    return titles, segments


def _vectors(column: pa.Array | pa.ChunkedArray) -> list[list[float]]:
    """Rows of a column of fixed-size lists as Python's numbers; a float32 is one of them exactly."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = array.flatten().to_numpy(zero_copy_only=False)
    rows: list[list[float]] = flat.reshape(len(array), TITLE_WIDTH).tolist()  # (N, 1788)
    return rows


def _float32(vector: Any) -> Any:
    return np.asarray(vector, np.float32)  # (1788,)


def _segment(point: models.Record) -> dict[str, Any]:
    payload = _payload(point)
    return {
        **payload,
        "vector": _float32(point.vector),
        **{name: list(payload[name].items()) for name in _SEGMENT_MAPS},
    }


def _payload(point: models.Record) -> dict[str, Any]:
    return point.payload or {}


def _version(media_id: str, version: str) -> models.Filter:
    return models.Filter(must=[_is("media_id", media_id), _is("version", version)])


def _other_versions(media_id: str, version: str) -> models.Filter:
    return models.Filter(must=[_is("media_id", media_id)], must_not=[_is("version", version)])


def _is(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
