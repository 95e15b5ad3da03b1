"""Files of tags: CSV, JSON lines or Parquet with a title a row, read as a stream.

Columns: ``media_id``; ``tags``, a list or text with ``;`` between them. Rows of the same title are added
together, so a file with a row a tag is read too.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.errors import MediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.opening import open_uri
from resonance.clients.ingest.uris import suffix

EXPECTED_TAGS = "a file of tags: .csv, .jsonl, .ndjson or .parquet with columns media_id and tags"
_COLUMNS = ("media_id", "tags")


def read_tags(uri: str, wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Tags of the `wanted` titles, sorted, by media id; a title that is not in the file is not in the answer.

    Raises:
        CatalogueError: it cannot be opened or read, lacks a column, or a row is no title's.
        ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
    """
    chosen = frozenset(wanted)
    found: dict[str, set[str]] = {}
    try:
        with open_uri(uri) as file:
            for number, row in enumerate(_rows(uri, file), start=1):
                media_id = row.get("media_id")
                if media_id is None or media_id == "":
                    raise CatalogueError(f"{uri} row {number}", "no media_id", "the name of a title")
                if str(media_id) in chosen:
                    found.setdefault(str(media_id), set()).update(
                        _tags(row.get("tags"), f"{uri} row {number}")
                    )
    except MediaError as error:
        raise CatalogueError(uri, error.came, EXPECTED_TAGS) from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise CatalogueError(uri, f"{type(error).__name__}: {error}", EXPECTED_TAGS) from error
    return {media_id: tuple(sorted(tags)) for media_id, tags in found.items()}


def _rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    kind = suffix(uri)
    if kind == ".parquet":
        return _parquet_rows(uri, file)
    if kind == ".csv":
        return _csv_rows(uri, file)
    if kind in (".jsonl", ".ndjson"):
        return _json_rows(uri, file)
    raise CatalogueError(uri, f"the ending '{kind}'", EXPECTED_TAGS)


def _csv_rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    rows = csv.DictReader(io.TextIOWrapper(cast(Any, file), encoding="utf-8-sig", newline=""))
    _check_columns(uri, rows.fieldnames or ())
    for number, row in enumerate(rows, start=1):
        if None in row:  # fields beyond the last column
            raise CatalogueError(
                f"{uri} row {number}", "more fields than columns", "fields that hold a comma in quotes"
            )
        yield row


def _json_rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CatalogueError(f"{uri} line {number}", f"no JSON ({error})", "one object a line") from error
        if not isinstance(row, dict):
            raise CatalogueError(f"{uri} line {number}", f"a JSON {type(row).__name__}", "one object a line")
        _check_columns(f"{uri} line {number}", row)
        yield row


def _parquet_rows(uri: str, file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    opened = pq.ParquetFile(file)
    _check_columns(uri, opened.schema_arrow.names)
    for batch in opened.iter_batches(columns=list(_COLUMNS)):
        yield from batch.to_pylist()


def _check_columns(where: str, names: Collection[str]) -> None:
    lacking = [name for name in _COLUMNS if name not in names]
    if lacking:
        raise CatalogueError(
            where, f"no column {lacking[0]} among {', '.join(names) or '(none)'}", EXPECTED_TAGS
        )


def _tags(value: Any, where: str) -> set[str]:
    if value is None:
        return set()
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise CatalogueError(where, f"tags {value!r}", "a list of texts, or text with ; between them")
    return {part.strip() for part in parts} - {""}
