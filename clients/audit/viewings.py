"""Logs of viewings: who watched which title when, how far, and, where it is known, how it came to be shown.

Columns of CSV, JSON lines or Parquet: ``user``, ``title``, ``time`` (seconds of the Unix epoch, or ISO 8601;
without a zone it is UTC), ``completion`` (0 to 1: share watched; may be empty). And maybe ``score``,
``position``, ``propensity``, ``clicked``, ``watch_s``: see `viewing_log.Recommended`. Others are not read.
`resonance.clients.audit.ratings` reads folders in the style of MovieLens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resonance.clients.audit.columns import flags, names, numbers, times_s
from resonance.clients.audit.ratings import read_ratings
from resonance.clients.audit.table import Layout, Rows, read_table
from resonance.clients.audit.viewing_log import EXPECTED, Numbered, ViewingLog, make_log
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.uris import local_path
from resonance.clients.new_files import whole_file
from resonance.clients.paths import is_folder

_LAYOUT = Layout(
    needed=("user", "title", "time", "completion"),
    optional=("score", "position", "propensity", "clicked", "watch_s"),
    expected=EXPECTED,
)
#: What the columns' types hold: chances, scores and seconds are float32, and no list is longer than this.
_LEAST_CHANCE, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_LAST_POSITION = 2**31


def read_viewings(path: str | Path, *, progress: Callable[[int], None] | None = None) -> ViewingLog:
    """A log, from anywhere; a folder is one in MovieLens style (`resonance.clients.audit.ratings`). Blocks.

    A row that does not say whether it was clicked is a viewing: it counts as clicked. One that was not has
    completion 0 and nothing watched, told or not.

    Args:
        progress: is told how many rows have been read.

    Raises:
        CatalogueError: it cannot be opened or read, lacks a column or any viewing, or a row makes no sense.
        ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
    """
    uri = str(path)
    here = local_path(uri)
    if here is not None and is_folder(here):
        return read_ratings(here, progress=progress)
    users, titles = Numbered(), Numbered()
    parts: list[dict[str, NDArray[Any]]] = []
    for rows in read_table(uri, _LAYOUT):
        completion = numbers(rows, "completion", low=0, high=1, expected="0 to 1, such as 0.85")
        part: dict[str, NDArray[Any]] = {
            "users": users.of(names(rows, "user")),
            "titles": titles.of(names(rows, "title")),
            "at_s": times_s(rows, "time"),
            "completion": completion,
        }
        if any(name in rows.columns for name in _LAYOUT.optional):  # of JSON lines all are
            part |= _recommended(rows, completion)
        parts.append(part)
        if progress is not None:
            progress(rows.first + rows.size - 1)
    return make_log(uri, parts, users, titles)


def write_viewings(log: ViewingLog, path: Path) -> None:
    """Write a log as .csv or .parquet, so that `read_viewings` gives it back; what is not known stays empty.

    Raises:
        UsageError: another ending, or it cannot be written.
    """
    columns: dict[str, Any] = {
        "user": [log.user_ids[user] for user in log.users],
        "title": [log.media_ids[title] for title in log.titles],
        "time": log.at_s,
        "completion": _known(log.completion),
    }
    if log.recommended is not None:
        columns |= {
            field.name: _known(getattr(log.recommended, field.name)) for field in fields(log.recommended)
        }
    table = pa.table(columns)
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{path}: ending '{path.suffix}'; expected .csv or .parquet")
    write = pq.write_table if path.suffix == ".parquet" else pyarrow.csv.write_csv
    try:
        with whole_file(path) as half, half.open("wb") as file:
            write(table, file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error})") from error


def _known(column: NDArray[Any]) -> pa.Array:
    unknown = np.isnan(column) if column.dtype.kind == "f" else None
    return pa.array(column, mask=unknown)


def _recommended(rows: Rows, completion: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns of `Recommended`; `completion` becomes 0 where a title was not clicked."""
    clicked = flags(rows, "clicked", without=True)
    watch_s = numbers(rows, "watch_s", low=0, high=_LARGEST, expected="seconds watched, 0 or more")
    for name, watched in (("completion", completion), ("watch_s", watch_s)):
        contrary = np.flatnonzero(~clicked & (watched > 0))
        if len(contrary):
            at = int(contrary[0])
            raise CatalogueError(
                f"{rows.where(at)}, {name}", f"{watched[at]:g} of a title not clicked", "0, or clicked true"
            )
        watched[~clicked] = 0
    position = numbers(
        rows,
        "position",
        low=0,
        high=_LAST_POSITION,
        whole=True,
        expected="a place from 1; 0 where not recommended",
    )
    return {
        "score": numbers(rows, "score", low=-_LARGEST, high=_LARGEST, expected="a number that float32 holds"),
        "position": np.nan_to_num(position),
        "propensity": numbers(
            rows, "propensity", low=_LEAST_CHANCE, high=1, expected="a chance above 0, at most 1"
        ),
        "clicked": clicked,
        "watch_s": watch_s,
    }
