"""A title as one row of an Arrow table, its segments nested, so that it is stored whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from resonance.clients.arrow_types import AXIS, DAMAGE, PRESENT, SIGNAL, VECTOR
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import Damage, StreamSignal
from resonance.clients.results import MediaEmbedding, Segment, SignalValue, SpaceRef, Vector
from resonance.space.descriptor import MODALITIES
from resonance.space.errors import SpaceMismatchError

Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)
#: Keys of the schema's metadata.
FINGERPRINT_KEY, SPACE_KEY, TRAINED_KEY = b"resonance.fingerprint", b"resonance.space", b"resonance.trained"

POINT = pa.struct([("t_s", pa.float64()), ("value", pa.float64())])
SEGMENT = pa.struct(
    [
        ("index", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("present", PRESENT),
        ("vector", VECTOR),
        ("salience", pa.float64()),
        ("signals", pa.map_(pa.string(), SIGNAL)),
        ("axes", pa.map_(pa.string(), pa.float64())),
        ("sampled_by", pa.string()),
        ("frame_times_s", pa.list_(pa.float64())),
    ]
)
#: Columns that stores have, or have in full, only since they were thought of: null in what was stored before.
_LATER = {"damage": DAMAGE}
_FIELDS = [
    ("media_id", pa.string()),
    ("uri", pa.string()),
    ("transcript_uri", pa.string()),
    ("content_hash", pa.string()),
    ("language", pa.string()),
    ("tags", pa.list_(pa.string())),
    ("attributes", pa.map_(pa.string(), pa.string())),
    ("duration_s", pa.float64()),
    ("present", PRESENT),
    ("vector", VECTOR),
    ("segments", pa.list_(SEGMENT)),
    ("arcs", pa.map_(pa.string(), pa.list_(POINT))),
    ("axes", pa.map_(pa.string(), AXIS)),
    *_LATER.items(),
]


def title_schema(space: SpaceRef) -> pa.Schema:
    """Columns of a title's row; the space stands in the metadata.

    `signals` hold measured numbers as ``{value, null, null}`` and those read off packets with method and
    confidence; a signal that could not be told is null. `damage` is null where all of a medium was read.
    """
    metadata = {
        FINGERPRINT_KEY: space.fingerprint.encode(),
        SPACE_KEY: space.name.encode(),
        TRAINED_KEY: b"true" if space.trained else b"false",
    }
    return pa.schema(_FIELDS, metadata=metadata)


def with_later_columns(rows: Rows, columns: Collection[str] | None = None) -> Rows:
    """`rows` of a store that may be older than some of `columns`, or of all columns."""
    for name, kind in _LATER.items():
        at = rows.schema.get_field_index(name)
        if at < 0 and (columns is None or name in columns):
            rows = rows.append_column(pa.field(name, kind), pa.nulls(rows.num_rows, kind))
        elif at >= 0 and rows.schema.field(at).type != kind:
            rows = rows.set_column(at, pa.field(name, kind), rows.column(at).cast(kind))
    return rows


def space_of(schema: pa.Schema) -> SpaceRef | None:
    """The space in a schema's metadata, None where there is none."""
    found = schema.metadata or {}
    if FINGERPRINT_KEY not in found:
        return None
    name = found.get(SPACE_KEY, b"").decode()
    return SpaceRef(name, found[FINGERPRINT_KEY].decode(), found.get(TRAINED_KEY) == b"true")


def check_space(rows: pa.Table, space: SpaceRef, where: str) -> None:
    """Raises SpaceMismatchError: `rows` are not of `space`, that of the sink at `where`."""
    found = space_of(rows.schema)
    if found is None or found.fingerprint != space.fingerprint:
        raise SpaceMismatchError(space.fingerprint, found.fingerprint if found else "none", where)


def title_row(item: CatalogueItem, content_hash: str, result: MediaEmbedding) -> pa.Table:
    """One row."""
    values: dict[str, Any] = {
        "media_id": item.media_id,
        "uri": item.uri,
        "transcript_uri": item.transcript_uri,
        "content_hash": content_hash,
        "language": item.language,
        "tags": list(item.tags),
        "attributes": list(item.attributes.items()),
        "duration_s": result.duration_s,
        "present": dict(zip(MODALITIES, result.present, strict=True)),
        "arcs": [(n, [{"t_s": t, "value": v} for t, v in points]) for n, points in result.arcs.items()],
        "axes": [(name, asdict(value)) for name, value in result.axes.items()],
        "damage": asdict(result.damage) if result.damage != Damage() else None,
    }
    schema = title_schema(result.space)
    columns: dict[str, pa.Array] = {
        name: pa.array([value], schema.field(name).type) for name, value in values.items()
    }
    columns["vector"] = _vectors(result.title[np.newaxis])
    columns["segments"] = pa.ListArray.from_arrays([0, len(result.segments)], _segments(result.segments))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _segments(segments: Sequence[Segment]) -> pa.StructArray:
    vectors = np.stack([s.vector for s in segments])  # (N, 1788)
    columns = {
        "index": [s.index for s in segments],
        "start_s": [s.start_s for s in segments],
        "end_s": [s.end_s for s in segments],
        "present": [dict(zip(MODALITIES, s.present, strict=True)) for s in segments],
        "salience": [s.salience for s in segments],
        "signals": [[(n, _signal(v)) for n, v in s.signals.items()] for s in segments],
        "axes": [list(s.axes.items()) for s in segments],
        "sampled_by": [str(s.sampled_by) for s in segments],
        "frame_times_s": [list(s.frame_times_s) for s in segments],
    }
    arrays = [
        _vectors(vectors) if field.name == "vector" else pa.array(columns[field.name], field.type)
        for field in SEGMENT
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(SEGMENT))


def _vectors(vectors: Vector) -> pa.Array:
    """Float32 [N, 1788] as fixed-size lists, without a Python number made of each value."""
    flat = np.ascontiguousarray(vectors, np.float32).reshape(-1)  # (N * 1788,)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=VECTOR)


def _signal(value: SignalValue) -> dict[str, Any] | None:
    if value is None:
        return None
    return asdict(value) if isinstance(value, StreamSignal) else {"value": float(value)}
