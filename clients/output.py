"""Results as files: one JSON object a title, or rows of a Parquet table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.arrow_types import AXIS, DAMAGE, PRESENT, SIGNAL, VECTOR
from resonance.clients.errors import UsageError
from resonance.clients.media.types import StreamSignal
from resonance.clients.new_files import check_ending, check_new_file, whole_file
from resonance.clients.results import MediaEmbedding, Segment, SignalValue, Vector
from resonance.space.descriptor import MODALITIES
from resonance.space.errors import SpaceMismatchError

#: Significant digits that bring a float32 back exactly.
FLOAT32_DIGITS = 9


def to_dict(result: MediaEmbedding) -> dict[str, Any]:
    """The JSON object of one title; see the README for its fields."""
    return _title(result, {"segments": [segment_to_dict(s) for s in result.segments]})


def title_to_dict(result: MediaEmbedding) -> dict[str, Any]:
    """The same without the segments."""
    return _title(result, {})


def _title(result: MediaEmbedding, segments: dict[str, Any]) -> dict[str, Any]:
    return {
        "media": result.media,
        "space": asdict(result.space),
        "duration_s": result.duration_s,
        "modalities": list(result.modalities),
        "title": _numbers(result.title),
        **segments,
        "arcs": {name: [[t, v] for t, v in points] for name, points in result.arcs.items()},
        "axes": {name: asdict(value) for name, value in result.axes.items()},
        "timing_ms": {
            name.removesuffix("_ms"): round(spent, 3) for name, spent in asdict(result.timing).items()
        },
        "damage": asdict(result.damage),
    }


def to_json(result: MediaEmbedding) -> str:
    """One line of JSON; numbers that are not finite are refused, not written."""
    return json.dumps(to_dict(result), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def segment_to_dict(segment: Segment) -> dict[str, Any]:
    """One of the segments."""
    return {
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "present": dict(zip(MODALITIES, segment.present, strict=True)),
        "vector": _numbers(segment.vector),
        "salience": segment.salience,
        "signals": {name: _signal(value) for name, value in segment.signals.items()},
        "axes": dict(segment.axes),
        "sampled_by": str(segment.sampled_by),
        "frame_times_s": [round(t, 6) for t in segment.frame_times_s],
    }


def _signal(value: SignalValue) -> float | dict[str, Any] | None:
    return asdict(value) if isinstance(value, StreamSignal) else value


def _numbers(vector: Vector) -> list[float]:
    return [float(f"{x:.{FLOAT32_DIGITS}g}") for x in vector]


_STREAM_SIGNALS = ("cut_rate_per_min", "motion")


def table(results: Iterable[MediaEmbedding]) -> pa.Table:
    """One row a title, its segments nested; vectors are fixed-size float32 lists.

    The space stands in the schema's metadata as well as in each row.

    Raises:
        SpaceMismatchError: the results belong to different spaces.
    """
    rows = list(results)
    if not rows:
        raise UsageError("no title was embedded, so there is no table to write")
    fingerprint = rows[0].space.fingerprint
    for row in rows:
        if row.space.fingerprint != fingerprint:
            raise SpaceMismatchError(fingerprint, row.space.fingerprint, row.media)
    names = sorted({name for row in rows for s in row.segments for name in s.signals})
    signals = pa.struct([(n, SIGNAL if n in _STREAM_SIGNALS else pa.float64()) for n in names])
    segment = pa.struct(
        [
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("present", PRESENT),
            ("vector", VECTOR),
            ("salience", pa.float64()),
            ("signals", signals),
            ("axes", pa.map_(pa.string(), pa.float64())),
            ("sampled_by", pa.string()),
            ("frame_times_s", pa.list_(pa.float64())),
        ]
    )
    point = pa.list_(pa.float64(), 2)
    schema = pa.schema(
        [
            ("media", pa.string()),
            (
                "space",
                pa.struct([("name", pa.string()), ("fingerprint", pa.string()), ("trained", pa.bool_())]),
            ),
            ("duration_s", pa.float64()),
            ("modalities", pa.list_(pa.string())),
            ("title", VECTOR),
            ("segments", pa.list_(segment)),
            ("arcs", pa.map_(pa.string(), pa.list_(point))),
            ("axes", pa.map_(pa.string(), AXIS)),
            ("timing_ms", pa.map_(pa.string(), pa.float64())),
            ("damage", DAMAGE),
        ],
        metadata={"resonance.fingerprint": fingerprint, "resonance.space": rows[0].space.name},
    )
    return pa.Table.from_pylist([_row(r) for r in rows], schema=schema)


def _row(result: MediaEmbedding) -> dict[str, Any]:
    row = to_dict(result)
    row["title"] = result.title.astype(np.float32)
    for written, segment in zip(row["segments"], result.segments, strict=True):
        written["vector"] = segment.vector.astype(np.float32)
        written["axes"] = _items(written["axes"])
    for name in ("arcs", "axes", "timing_ms"):
        row[name] = _items(row[name])
    return row


def _items(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(mapping.items())


def write_results(results: Iterable[MediaEmbedding], path: Path) -> None:
    """Write to `path` by its ending, ``.jsonl`` or ``.parquet``: all of them or none.

    Raises:
        UsageError: another ending, or nothing to write.
    """
    check_output_path(path)
    with whole_file(path) as half, half.open("wb") as file:
        if path.suffix == ".parquet":
            pq.write_table(table(results), file, compression="zstd")
            return
        for result in results:
            file.write(to_json(result).encode() + b"\n")


def check_output_path(path: Path) -> None:
    """Refuse a file that cannot be written in the end, before the work that it would hold.

    Raises:
        UsageError: an ending that nothing is written for, or the folder is not there.
    """
    check_ending(path, "--output", ".jsonl", ".parquet")
    check_new_file(path, "--output")
