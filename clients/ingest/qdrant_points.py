"""A title's row as points of Qdrant, and back again bit for bit.

Qdrant keeps float32 vectors as they are, but its storage reads payloads as JSON with a parser that may be one
unit in the last place off (found with its own engine: docs/stores.md). So a payload has its numbers twice: as
fields to filter by and to look at, and in the field ``row`` as JSON text, which is what rows are made of.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import models

from resonance.clients.arrow_types import VECTOR
from resonance.clients.ingest.rows import SEGMENT
from resonance.clients.ingest.types import day_of
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import TITLE_WIDTH

_NAMESPACE = uuid.UUID("6d1a3c52-6c0e-4b1e-9f5c-0a4b8d2a7f31")  # of this project's points
#: Fields of payloads that are asked for by name. SEGMENTS of a title: how many it has; DAY: `day_of` it, for
#: Qdrant would read dates by rules of its own.
MEDIA_ID, CONTENT_HASH, VERSION, FINGERPRINT, SEGMENTS, DAY, ROW = (
    *("media_id", "content_hash", "version"),
    *("fingerprint", "segments", "day", "row"),
)
#: Only in ``row``, because they are long: an hour of arcs is 40 KB, and hits bring their payload.
_ONLY_IN_ROW = frozenset(("arcs", "frame_times_s"))
#: What a segment has of its title, to filter by.
_OF_TITLE = (MEDIA_ID, "tags", "language")
_NO_VECTOR = [field for field in SEGMENT if field.name != "vector"]


def title_id(media_id: str) -> str:
    """The point of a title."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([media_id])))


def segment_id(media_id: str, version: str, index: int) -> str:
    """The point of a segment of one version of a title."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([media_id, version, index])))


def payload_of(point: models.Record | models.ScoredPoint) -> dict[str, Any]:
    """Its payload; empty where it has none."""
    return point.payload or {}


def points_of(rows: pa.Table, space: SpaceRef) -> tuple[list[models.PointStruct], list[models.PointStruct]]:
    """Points of titles, and of all their segments."""
    titles, segments = [], []
    light = rows.drop_columns(["segments", "vector"])
    vectors = _lists(rows["vector"].combine_chunks())
    for row, vector, parts in zip(_objects(light), vectors, rows["segments"].combine_chunks(), strict=True):
        media_id, version = row[MEDIA_ID], row[CONTENT_HASH]
        count = len(parts.values) if parts.is_valid else 0
        day = day_of(row["attributes"] or {})
        mine = {SEGMENTS: count, FINGERPRINT: space.fingerprint, DAY: str(day) if day else None}
        payload = {**_payload(row), **mine}
        titles.append(models.PointStruct(id=title_id(media_id), vector=vector, payload=payload))
        if not count:
            continue
        shared = {
            **{name: row[name] for name in _OF_TITLE},
            VERSION: version,
            FINGERPRINT: space.fingerprint,
        }
        arrays = [parts.values.field(field.name) for field in _NO_VECTOR]
        table = pa.Table.from_arrays(arrays, schema=pa.schema(_NO_VECTOR))
        for segment, numbers in zip(_objects(table), _lists(parts.values.field("vector")), strict=True):
            name = segment_id(media_id, version, segment["index"])
            payload = {**shared, **_payload(segment)}
            segments.append(models.PointStruct(id=name, vector=numbers, payload=payload))
    return titles, segments


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in _ONLY_IN_ROW}
    return {**shown, ROW: json.dumps(row, ensure_ascii=False, separators=(",", ":"))}


def _objects(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with maps as JSON has them."""
    maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in maps:
            row[name] = None if row[name] is None else dict(row[name])
    return rows


def _lists(column: pa.FixedSizeListArray) -> list[list[float]]:
    """Vectors as Python's numbers; a float32 is one of them exactly."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    rows: list[list[float]] = flat.reshape(len(column), TITLE_WIDTH).tolist()  # (N, 1788)
    return rows


def rows_of(titles: Sequence[models.Record], segments: pa.StructArray | None, schema: pa.Schema) -> pa.Table:
    """Rows of titles' points; `schema` has the columns that are wanted.

    Args:
        segments: those of the one title that is given, where they are wanted.
    """
    rows = [json.loads(payload_of(point)[ROW]) for point in titles]
    columns: dict[str, pa.Array] = {}
    for field in schema:
        if field.name == "vector":
            columns["vector"] = _vectors(titles)
        elif field.name == "segments" and segments is not None:
            columns["segments"] = pa.ListArray.from_arrays([0, len(segments)], segments)
        else:
            columns[field.name] = _column(rows, field)
    return pa.table(columns, schema=schema)


def segments_of(points: Sequence[models.Record]) -> pa.StructArray:
    """The segments of one title, in order."""
    pairs = sorted(
        ((json.loads(payload_of(point)[ROW]), point) for point in points), key=lambda pair: pair[0]["index"]
    )
    rows = [row for row, _ in pairs]
    arrays = [
        _vectors([point for _, point in pairs]) if field.name == "vector" else _column(rows, field)
        for field in SEGMENT
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(SEGMENT))


def _column(rows: Sequence[dict[str, Any]], field: pa.Field) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if pa.types.is_map(field.type):
        values = [None if value is None else list(value.items()) for value in values]
    return pa.array(values, field.type)


def _vectors(points: Sequence[models.Record]) -> pa.FixedSizeListArray:
    flat = np.array([point.vector for point in points], np.float32).reshape(-1)  # (N * 1788,)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), type=VECTOR)
