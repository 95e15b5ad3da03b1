"""Tables with a row a thing, as CSV, JSON lines or Parquet, from anywhere, read in batches of columns.

What is wrong in one is told by file, row and field. Rows are counted from 1, the heading and empty lines left
out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.delimited import IN_QUOTES, TOO_MANY, separator_hint
from resonance.clients.errors import MediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.opening import open_uri
from resonance.clients.ingest.uris import suffix

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table must hold.

    Attributes:
        needed: columns that have to be there. optional: columns that are read where they are.
        expected: what is said of a file that does not hold it.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    expected: str = "a table"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, one after the other.

    Attributes:
        uri: of the file. first: number of the first row. size: how many.
        columns: a value a row, by name: text of CSV, else as the file has it; None where there is none. An
            optional column that the file lacks is not there; of JSON lines all are.
    """

    uri: str
    first: int
    size: int
    columns: Mapping[str, Sequence[Any]]

    def where(self, at: int) -> str:
        """File and row number of one of them, counted from 0 here."""
        return f"{self.uri} row {self.first + at}"


def read_table(uri: str, layout: Layout) -> Iterator[Rows]:
    """All rows, in the order of the file. Blocks.

    Raises:
        CatalogueError: it cannot be opened or read, lacks a column, or a row is none.
        ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
    """
    try:
        with open_uri(uri) as file:
            first = 1
            for columns, size in _batches(uri, file, layout):
                yield Rows(uri, first, size, columns)
                first += size
    except MediaError as error:
        raise CatalogueError(uri, error.came, layout.expected) from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise CatalogueError(uri, f"{type(error).__name__}: {error}", layout.expected) from error


_Batch = tuple[dict[str, Sequence[Any]], int]


def _batches(uri: str, file: BinaryIO, layout: Layout) -> Iterator[_Batch]:
    kind = suffix(uri)
    if kind == ".parquet":
        return _parquet(uri, file, layout)
    if kind == ".csv":
        return _csv(uri, file, layout)
    if kind in (".jsonl", ".ndjson"):
        return _json_lines(uri, file, layout)
    raise CatalogueError(uri, f"the ending '{kind}'", layout.expected)


def _csv(uri: str, file: BinaryIO, layout: Layout) -> Iterator[_Batch]:
    lines = csv.reader(io.TextIOWrapper(cast(Any, file), encoding="utf-8-sig", newline=""))
    names = [name.strip() for name in next(lines, [])]
    places = {name: names.index(name) for name in _present(uri, names, layout)}
    first = 1
    while rows := list(islice((line for line in lines if line), _ROWS_AT_ONCE)):
        for at, row in enumerate(rows):
            if len(row) > len(names):
                raise CatalogueError(f"{uri} row {first + at}", TOO_MANY, IN_QUOTES)
            row += [None] * (len(names) - len(row))  # type: ignore[list-item]
        columns = list(zip(*rows, strict=True))
        yield {name: columns[place] for name, place in places.items()}, len(rows)
        first += len(rows)


def _json_lines(uri: str, file: BinaryIO, layout: Layout) -> Iterator[_Batch]:
    objects = _json_objects(uri, file, layout)
    names = (*layout.needed, *layout.optional)
    while rows := list(islice(objects, _ROWS_AT_ONCE)):
        yield {name: [row.get(name) for row in rows] for name in names}, len(rows)


def _json_objects(uri: str, file: BinaryIO, layout: Layout) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        where = f"{uri} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CatalogueError(where, f"no JSON ({error})", "one object a line") from error
        if not isinstance(row, dict):
            raise CatalogueError(where, f"a JSON {type(row).__name__}", "one object a line")
        _present(where, row, layout)
        yield row


def _parquet(uri: str, file: BinaryIO, layout: Layout) -> Iterator[_Batch]:
    opened = pq.ParquetFile(file)
    there = opened.schema_arrow.names
    names = _present(uri, there, layout)
    twice = [name for name in names if there.count(name) > 1]
    if twice:
        raise CatalogueError(uri, f"column {twice[0]} more than once", "names of columns that differ")
    for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=names):
        yield {name: _values(uri, name, batch[name]) for name in names}, len(batch)


def _values(uri: str, name: str, column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):  # Python has no nanoseconds, which pandas writes
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, KeyError) as error:  # days without a name, zones that nobody knows
        raise CatalogueError(
            f"{uri}: {name}", f"{type(error).__name__}: {error}", "values that Python can hold"
        ) from error
    return values


def _present(where: str, names: Collection[str], layout: Layout) -> list[str]:
    """The columns of a layout that are there."""
    lacking = [name for name in layout.needed if name not in names]
    if lacking:
        came = f"no column {lacking[0]} among {', '.join(names) or '(none)'}"
        raise CatalogueError(where, came, layout.expected + separator_hint(names))
    return [name for name in (*layout.needed, *layout.optional) if name in names]
