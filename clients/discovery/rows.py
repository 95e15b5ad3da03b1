"""Rows of a store as what a search works with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from resonance.clients.discovery.types import StoredTitle, TitleFacts
from resonance.clients.media.types import Damage, SampledBy, StreamSignal
from resonance.clients.results import AxisValue, Segment, SignalValue, Vector
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH

#: Columns that `facts_of` reads.
FACTS = (
    *("media_id", "uri", "transcript_uri", "language", "tags", "attributes", "duration_s", "present"),
    *("axes", "damage"),
)


def vectors_of(column: pa.FixedSizeListArray) -> Vector:
    """A column of vectors as float32 [N, 1788]; a view where it can be one."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(column), TITLE_WIDTH))  # (N, 1788)


def facts_of(row: Mapping[str, Any]) -> TitleFacts:
    """Of a row of Arrow as Python has it, or of a point's payload; its maps as pairs or as mappings."""
    return TitleFacts(
        media_id=row["media_id"],
        uri=row["uri"],
        transcript_uri=row["transcript_uri"],
        language=row["language"],
        tags=tuple(row["tags"] or ()),
        attributes=dict(row["attributes"] or ()),
        duration_s=row["duration_s"],
        present=_present(row["present"]),
        axes={name: AxisValue(**value) for name, value in dict(row["axes"] or ()).items()},
        damage=_damage(row.get("damage")),
    )


def _damage(value: Mapping[str, Any] | None) -> Damage:
    """Of a row or payload; what nobody counted yet when it was stored is null, or not there."""
    return Damage(**{name: count for name, count in (value or {}).items() if count is not None})


def arcs_of(column: Any) -> dict[str, list[tuple[float, float]]]:
    """A row's arcs as points."""
    return {name: [(p["t_s"], p["value"]) for p in points] for name, points in dict(column or ()).items()}


def titles_of(batch: pa.RecordBatch) -> list[StoredTitle]:
    """All that rows hold; `batch` has every column."""
    vectors = vectors_of(batch["vector"])
    segments = batch["segments"]
    rows = batch.drop_columns(["vector", "segments"]).to_pylist()
    return [
        StoredTitle(facts_of(row), vector, segments_of(parts.values), arcs_of(row["arcs"]))
        for row, vector, parts in zip(rows, vectors, segments, strict=True)
    ]


def segments_of(rows: pa.StructArray) -> tuple[Segment, ...]:
    """The segments of one title."""
    if rows is None or not len(rows):
        return ()
    light = [field.name for field in rows.type if field.name != "vector"]
    columns = [rows.field(name) for name in light]
    vectors = vectors_of(rows.field("vector"))
    found = []
    for row, vector in zip(pa.RecordBatch.from_arrays(columns, light).to_pylist(), vectors, strict=True):
        found.append(
            Segment(
                index=row["index"],
                start_s=row["start_s"],
                end_s=row["end_s"],
                present=_present(row["present"]),
                vector=vector,
                signals={name: _signal(value) for name, value in dict(row["signals"] or ()).items()},
                sampled_by=SampledBy(row["sampled_by"]),
                frame_times_s=tuple(row["frame_times_s"] or ()),
                salience=row["salience"],
                axes=dict(row["axes"] or ()),
            )
        )
    return tuple(found)


def _present(row: Mapping[str, bool]) -> tuple[bool, bool, bool]:
    visual, audio, transcript = (row[name] for name in MODALITIES)
    return visual, audio, transcript


def _signal(value: Mapping[str, Any] | None) -> SignalValue:
    """See `resonance.clients.ingest.rows.title_schema`: a measured number has no method."""
    if value is None:
        return None
    return value["value"] if value["method"] is None else StreamSignal(**value)
