"""What a viewer watched, from a file: a row a viewing, as CSV, JSON lines or Parquet.

Columns: ``media_id``, ``watched_at`` (ISO 8601; without a zone it is UTC), ``completion`` (0 to 1: how much
of the title was watched; may be empty where there is a signal), and maybe ``signal`` (``like`` or
``dislike``: what the viewer said of it). Other columns are not read.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.delimited import IN_QUOTES, TOO_MANY, separator_hint
from resonance.clients.errors import InvalidFieldError, UsageError

LIKE, DISLIKE = "like", "dislike"
_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
_NEEDED = ("media_id", "watched_at")
_READ = (*_NEEDED, "completion", "signal")


@dataclass(frozen=True, slots=True)
class Viewing:
    """One viewing of a title.

    Attributes:
        completion: how much of it was watched, 0 to 1; None where it is not known and there is a signal.
        watched_at: with a zone.
        signal: `LIKE`, `DISLIKE` or None.

    Raises:
        InvalidFieldError: a value that is not allowed.
    """

    media_id: str
    completion: float | None
    watched_at: datetime
    signal: str | None = None

    def __post_init__(self) -> None:
        if self.signal not in (None, LIKE, DISLIKE):
            raise InvalidFieldError("signal", repr(self.signal), f"{LIKE}, {DISLIKE} or nothing")
        if self.completion is None:
            if self.signal is None:
                raise InvalidFieldError("completion", "nothing, and no signal", "0 to 1, or a signal")
        elif not 0 <= self.completion <= 1:
            raise InvalidFieldError("completion", repr(self.completion), "0 to 1, such as 0.85")
        if self.watched_at.tzinfo is None:
            raise InvalidFieldError("watched_at", f"{self.watched_at} without a zone", "a time with a zone")


def read_history(path: Path) -> list[Viewing]:
    """The viewings of a file, in its order. Blocks.

    Raises:
        InvalidFieldError: a value that is not allowed; the message has file, row and column.
        UsageError: another ending, a file that cannot be read, columns that are missing, or a row of more
            fields than columns.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: ending '{path.suffix}'; expected a history, {', '.join(_SUFFIXES)}")
    try:
        return [_viewing(row, f"{path} row {number}") for number, row in enumerate(_rows(path), start=1)]
    except (OSError, ValueError, OverflowError, csv.Error, pa.ArrowException) as error:
        said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UsageError(f"{path}: cannot be read ({said}); expected a history") from error


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, names)
            yield from file.read([name for name in _READ if name in names]).to_pylist()
        return
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        _check_columns(path, [name.strip() for name in rows.fieldnames or ()])
        for row in rows:
            if None in row:  # where the reader puts what is beyond the columns
                raise UsageError(f"{path} line {rows.line_num}: {TOO_MANY}; expected {IN_QUOTES}")
            yield {name.strip(): value for name, value in row.items()}
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} line {number}: no JSON ({error}); expected an object a line") from error
        if not isinstance(found, dict):
            kind = type(found).__name__
            raise UsageError(f"{path} line {number}: a JSON {kind}; expected an object a line")
        yield found


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing or not {"completion", "signal"} & set(names):
        raise UsageError(
            f"{path}: columns {', '.join(names) or '(none)'}; expected media_id, watched_at and completion "
            f"(or signal){separator_hint(names)}"
        )


def _viewing(row: Mapping[str, Any], where: str) -> Viewing:
    try:
        return Viewing(
            media_id=_name(row.get("media_id")),
            completion=_completion(row.get("completion")),
            watched_at=_time(row.get("watched_at")),
            signal=_signal(row.get("signal")),
        )
    except InvalidFieldError as wrong:
        raise InvalidFieldError(f"{where}: {wrong.field}", wrong.came, wrong.expected) from wrong


def _name(value: Any) -> str:
    name = "" if value is None else str(value).strip()
    if not name:
        raise InvalidFieldError("media_id", "nothing", "the media id of a title")
    return name


def _completion(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # the last: of a whole number of 400 digits
        number = math.nan
    if math.isnan(number):
        raise InvalidFieldError("completion", repr(value), "0 to 1, such as 0.85")
    return number


def _time(value: Any) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError) as error:  # the latter: a number
        expected = "ISO 8601, such as 2026-11-28T20:15:00Z"
        raise InvalidFieldError("watched_at", repr(value), expected) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _signal(value: Any) -> str | None:
    return None if value is None else str(value).strip().lower() or None
