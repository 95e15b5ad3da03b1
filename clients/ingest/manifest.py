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
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.errors import MediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.opening import open_uri
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import absolute, beside, suffix
from resonance.clients.media.text import can_be_stored, shown

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
EXPECTED_MANIFEST = "a manifest: .csv, .jsonl or .parquet with a column uri"
_KNOWN = ("id", "uri", "transcript_uri", "language", "tags")
_ROWS_AT_ONCE = 4096
#: Longest line of JSON and longest field of CSV that are read.
_MAX_LINE_BYTES = 1 << 20
#: From here on a float64 may stand for several whole numbers.
_WHOLE_FLOATS_BELOW = 2**53


@dataclass(frozen=True, slots=True)
class FaultyRow:
    """A row, file or folder that gives no title. `where`: which one, in characters that can be stored."""

    where: str
    error: CatalogueError


@dataclass(frozen=True, slots=True)
class _Broken:
    """A row that cannot be read. came, expected: see `CatalogueError`."""

    came: str
    expected: str


_Row = Mapping[str, Any] | _Broken


def read_manifest(uri: str) -> Iterator[CatalogueItem | FaultyRow]:
    """Its rows, one after the other; a row that makes no sense is told and passed over.

    Raises:
        CatalogueError: it cannot be opened or read, or has no column ``uri``.
        ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
    """
    try:
        with open_uri(uri) as file:
            for number, row in enumerate(_rows(uri, file), start=1):
                where = f"{uri} row {number}"
                if isinstance(row, _Broken):
                    yield FaultyRow(where, CatalogueError(where, row.came, row.expected))
                else:
                    yield _item(row, uri, where)
    except MediaError as error:
        raise CatalogueError(uri, error.came, EXPECTED_MANIFEST) from error
    except (OSError, csv.Error, pa.ArrowException) as error:
        raise CatalogueError(uri, f"{type(error).__name__}: {error}", EXPECTED_MANIFEST) from error


def checked(where: str, item: CatalogueItem) -> CatalogueItem | FaultyRow:
    """The title with its files found from anywhere, or a faulty row where its text cannot be stored: names of
    files need not be UTF-8.
    """
    transcript_uri = absolute(item.transcript_uri) if item.transcript_uri is not None else None
    item = replace(item, uri=absolute(item.uri), transcript_uri=transcript_uri)
    if not can_be_stored(item.uri):
        return _not_utf8(where)
    texts = [("id", item.media_id), ("transcript_uri", item.transcript_uri), ("language", item.language)]
    texts += [("tags", tag) for tag in item.tags]
    for name, text in (*texts, *item.attributes.items()):
        if not (can_be_stored(name) and (text is None or can_be_stored(text))):
            return _not_utf8(where, name)
    return item


def _not_utf8(where: str, column: str | None = None) -> FaultyRow:
    where, of = shown(where), "" if column is None else f" in {shown(column)}"
    error = CatalogueError(where, f"text that is not UTF-8{of}", "names and values in UTF-8")
    return FaultyRow(where, error)


def _rows(uri: str, file: BinaryIO) -> Iterator[_Row]:
    kind = suffix(uri)
    if kind == ".parquet":
        return _parquet_rows(uri, file)
    return _csv_rows(uri, file) if kind == ".csv" else _json_rows(file)


def _csv_rows(uri: str, file: BinaryIO) -> Iterator[_Row]:
    csv.field_size_limit(_MAX_LINE_BYTES)
    # what is not UTF-8 comes through as surrogates, and `checked` tells of the one row
    text = io.TextIOWrapper(cast(Any, file), encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(text)
    rows = csv.reader(lines)
    names = [name.strip() for name in next(rows, [])]
    _check_columns(uri, names)
    while True:
        lines.begin_row()
        try:
            fields = next(rows)
            if len(lines.of_row) > 1:  # a quote that is not closed would take the rows below into its field
                fields = next(csv.reader(lines.of_row, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back()
            yield _Broken(
                f"a line that is no CSV ({error})", "quotes that are closed, and fields of a readable length"
            )
            continue
        if len(fields) > len(names):
            yield _Broken(
                f"{len(fields)} fields under {len(names)} columns", "fields that hold a comma in quotes"
            )
        elif fields:  # an empty line is no row
            yield dict(zip(names, fields, strict=False))


class _Lines:
    """Lines of a text, for a reader that takes as many as a row has. `of_row`: those since the row began."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text, self._given_back = iter(text), deque[str]()
        self.of_row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._text)
        self.of_row.append(line)
        return line

    def begin_row(self) -> None:
        """What was read is a row."""
        self.of_row = []

    def give_back(self) -> None:
        """All but the first line of what was read are rows of their own."""
        self._given_back.extendleft(reversed(self.of_row[1:]))


def _json_rows(file: BinaryIO) -> Iterator[_Row]:
    expected = "one JSON object a line, with a field uri"
    first = True
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield _Broken(f"a line of over {_MAX_LINE_BYTES:,} bytes", expected)
            continue
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _Broken(f"a line that is no JSON ({error})", expected)
        else:
            yield row if isinstance(row, dict) else _Broken(f"a JSON {type(row).__name__}", expected)


def _parquet_rows(uri: str, file: BinaryIO) -> Iterator[_Row]:
    opened = pq.ParquetFile(file)
    _check_columns(uri, opened.schema_arrow.names)
    for batch in opened.iter_batches(batch_size=_ROWS_AT_ONCE):
        try:
            rows: list[_Row] = batch.to_pylist()
        except (ValueError, OverflowError, pa.ArrowException):
            rows = [_parquet_row(batch.slice(at, 1)) for at in range(len(batch))]
        yield from rows


def _parquet_row(row: pa.RecordBatch) -> _Row:
    try:
        return cast(Mapping[str, Any], row.to_pylist()[0])
    except (ValueError, OverflowError, pa.ArrowException) as error:  # text that is none, times out of range
        return _Broken(f"values that cannot be read ({error})", "text in UTF-8, times that Python has")


def _check_columns(uri: str, names: Collection[str]) -> None:
    if "uri" not in names:
        raise CatalogueError(uri, f"columns {', '.join(names) or '(none)'}", "a column uri")
    named = [name for name in names if name]  # spreadsheets end their lines with commas
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise CatalogueError(uri, f"column {twice[0]} more than once", "names of columns that differ")


def _item(row: Mapping[str, Any], manifest: str, where: str) -> CatalogueItem | FaultyRow:
    given = _text(row.get("uri"))
    if given is None:
        return FaultyRow(where, CatalogueError(where, "no uri", "where the media is"))
    transcript = _text(row.get("transcript_uri"))
    return checked(
        where,
        CatalogueItem(
            media_id=_text(row.get("id")) or given,
            uri=beside(manifest, given),
            transcript_uri=beside(manifest, transcript) if transcript is not None else None,
            language=_text(row.get("language")),
            tags=_tags(row.get("tags")),
            attributes={
                name: text
                for name, value in row.items()
                if name and name not in _KNOWN and (text := _text(value)) is not None
            },
        ),
    )


def _text(value: Any) -> str | None:
    """Of any value; None of what is not there."""
    if value is None or (isinstance(value, float) and value != value):  # NaN: pandas' missing text
        return None
    if isinstance(value, bytes):  # older writers of Parquet do not say that it is text
        return value.decode("utf-8", "surrogateescape").strip() or None
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_FLOATS_BELOW:
        value = int(value)  # pandas makes floats of a column of whole numbers in which one is missing
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value).strip() or None


def _tags(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else re.split(r"[;|]", _text(value) or "")
    return tuple(text for part in parts if (text := _text(part)) is not None)
