"""Manifests: tables with a row a title, as CSV, JSON lines or Parquet, read as a stream.

Columns: ``uri`` (needed); ``id``, ``transcript_uri``, ``language``, ``tags`` (a list, or text with ``;`` or
``|`` between them). Any other column is kept as an attribute of the title, as text. URIs that are relative
are so to the manifest's folder.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.errors import MediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.opening import open_uri
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import beside, suffix

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
EXPECTED_MANIFEST = "a manifest: .csv, .jsonl or .parquet with a column uri"
_KNOWN = ("id", "uri", "transcript_uri", "language", "tags")
_ROWS_AT_ONCE = 4096
#: Longest line of JSON and longest field of CSV that are read.
_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FaultyRow:
    """A row that names no title. `where`: manifest and row."""

    where: str
    error: CatalogueError


def read_manifest(uri: str) -> Iterator[CatalogueItem | FaultyRow]:
    """Its rows, one after the other; a row that makes no sense is told and passed over.

    Raises:
        CatalogueError: it cannot be opened or read, or has no column ``uri``.
    """
    try:
        with open_uri(uri) as file:
            for number, row in enumerate(_rows(uri, file), start=1):
                where = f"{uri} row {number}"
                try:
                    yield _item(row, uri, where)
                except CatalogueError as error:
                    yield FaultyRow(where, error)
    except MediaError as error:
        raise CatalogueError(uri, error.came, EXPECTED_MANIFEST) from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise CatalogueError(uri, f"{type(error).__name__}: {error}", EXPECTED_MANIFEST) from error


def _rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    kind = suffix(uri)
    if kind == ".parquet":
        yield from _parquet_rows(uri, file)
    elif kind == ".csv":
        yield from _csv_rows(uri, file)
    else:
        yield from _json_rows(file)


def _csv_rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(_MAX_LINE_BYTES)
    text = io.TextIOWrapper(cast(Any, file), encoding="utf-8-sig", newline="")
    rows = csv.DictReader(text, restkey="")
    _check_columns(uri, rows.fieldnames or [])
    for row in rows:
        yield {name: value for name, value in row.items() if name}


def _json_rows(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    while line := file.readline(_MAX_LINE_BYTES):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            row = {"": f"no JSON ({error})"}
        yield row if isinstance(row, dict) else {"": f"a JSON {type(row).__name__}"}


def _parquet_rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    opened = pq.ParquetFile(file)
    _check_columns(uri, opened.schema_arrow.names)
    for batch in opened.iter_batches(batch_size=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _check_columns(uri: str, names: Any) -> None:
    if "uri" not in names:
        raise CatalogueError(uri, f"columns {', '.join(map(str, names)) or '(none)'}", "a column uri")


def _item(row: Mapping[str, Any], manifest: str, where: str) -> CatalogueItem:
    if "" in row:
        raise CatalogueError(where, str(row[""]), "an object with a field uri")
    given = _text(row.get("uri"))
    if given is None:
        raise CatalogueError(where, "no uri", "where the media is")
    uri = beside(manifest, given)
    transcript = _text(row.get("transcript_uri"))
    return CatalogueItem(
        media_id=_text(row.get("id")) or given,
        uri=uri,
        transcript_uri=beside(manifest, transcript) if transcript is not None else None,
        language=_text(row.get("language")),
        tags=_tags(row.get("tags")),
        attributes={
            str(name): text
            for name, value in row.items()
            if name not in _KNOWN and (text := _text(value)) is not None
        },
    )


def _text(value: Any) -> str | None:
    """Of any value; None of what is not there."""
    if value is None or (isinstance(value, float) and value != value):  # NaN: pandas' missing text
        return None
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value).strip() or None


def _tags(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else re.split(r"[;|]", _text(value) or "")
    return tuple(text for part in parts if (text := _text(part)) is not None)
