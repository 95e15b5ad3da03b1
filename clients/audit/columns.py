"""Columns of a table as arrays; the first value that is none of its kind is told by file, row and field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.table import Rows
from resonance.clients.ingest.errors import CatalogueError

FloatArray = NDArray[np.float64]

_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
_TIME = "seconds of the Unix epoch, or ISO 8601 such as 2026-11-28T20:15:00Z"
#: Seconds of the epoch on 0001-01-01 and 9999-12-31: beyond lies no day that has a name.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799


def names(rows: Rows, column: str) -> list[str]:
    """Names, without space around them; whole numbers are names too.

    Raises:
        CatalogueError: an empty one, or of another kind.
    """
    values = rows.columns[column]
    if set(map(type, values)) <= {str, int}:
        found = [str(value).strip() for value in values]
        if all(found):
            return found
    for at, value in enumerate(values):
        if type(value) not in (str, int) or not str(value).strip():
            raise _wrong(rows, at, column, value, "a name")
    raise AssertionError("a name was refused that is none to refuse")


def numbers(
    rows: Rows,
    column: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    whole: bool = False,
    expected: str,
) -> FloatArray:
    """Numbers from `low` to `high`, finite, float64 [n]; NaN where there is none, or no such column.

    Args:
        whole: only whole ones.

    Raises:
        CatalogueError: a value that is no such number.
    """
    values = rows.columns.get(column)
    if values is None:
        return np.full(rows.size, np.nan)
    found = _converted(rows, column, values, _number, expected)
    known = ~np.isnan(found)
    right = np.isfinite(found) & (found >= low) & (found <= high)
    if whole:
        right &= found == np.floor(found)
    wrong = np.flatnonzero(known & ~right)
    if len(wrong):
        raise _wrong(rows, int(wrong[0]), column, values[wrong[0]], expected)
    return found


def times_s(rows: Rows, column: str) -> FloatArray:
    """Moments as seconds of the Unix epoch, float64 [n]; without a zone they are UTC.

    Raises:
        CatalogueError: a value that is no time, or none.
    """
    values = rows.columns[column]
    found = _converted(rows, column, values, _moment_s, _TIME)
    wrong = np.flatnonzero(~((found >= _FIRST_S) & (found <= _LAST_S)))  # NaN too
    if len(wrong):
        raise _wrong(rows, int(wrong[0]), column, values[wrong[0]], _TIME)
    return found


def flags(rows: Rows, column: str, *, without: bool) -> NDArray[np.bool_]:
    """True and false, bool [n]: as such, or as text or number 1 and 0, yes and no.

    Args:
        without: what a row is that says nothing, or all where there is no such column.

    Raises:
        CatalogueError: a value that is neither.
    """
    found = np.full(rows.size, without)
    for at, value in enumerate(rows.columns.get(column, ())):
        text = "" if value is None else str(value).strip().lower()
        if text and text not in _TRUE and text not in _FALSE:
            raise _wrong(rows, at, column, value, "true or false")
        if text:
            found[at] = text in _TRUE
    return found


def _converted(
    rows: Rows, column: str, values: Sequence[Any], one: Callable[[Any], float], expected: str
) -> FloatArray:
    """All at once where they are plain numbers, else one by one by `one`."""
    if set(map(type, values)) <= {str, int, float, type(None)}:
        try:
            return np.array([None if value == "" else value for value in values], np.float64)
        except (ValueError, TypeError, OverflowError):
            pass  # one of them is no number
    found = np.empty(rows.size)
    for at, value in enumerate(values):
        try:
            found[at] = one(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise _wrong(rows, at, column, value, expected) from error
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return np.nan
    return float(value)


def _moment_s(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            value = datetime.fromisoformat(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    return _number(value)


def _wrong(rows: Rows, at: int, column: str, value: Any, expected: str) -> CatalogueError:
    came = "nothing" if value is None or value == "" else repr(value)
    return CatalogueError(f"{rows.where(at)}, {column}", came, expected)
