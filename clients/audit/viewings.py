"""Logs of viewings: who watched which title when, how far, and, where it is known, how it came to be shown.

Columns of CSV, JSON lines or Parquet: ``user``, ``title``, ``time`` (seconds of the Unix epoch, or ISO 8601;
without a zone it is UTC), ``completion`` (0 to 1: share watched; may be empty). And maybe ``score``,
``position``, ``propensity``, ``clicked``, ``watch_s``: see `Recommended`. Other columns are not read.
`resonance.clients.audit.ratings` reads folders in the style of MovieLens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resonance.clients.audit.columns import flags, names, numbers, times_s
from resonance.clients.audit.table import Layout, Rows, read_table
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.uris import local_path

_LAYOUT = Layout(
    needed=("user", "title", "time", "completion"),
    optional=("score", "position", "propensity", "clicked", "watch_s"),
    expected="a log of viewings: .csv, .jsonl, .ndjson or .parquet with columns user, title, time and "
    "completion, or a folder with ratings.csv",
)
#: How completion was told, for reports.
WATCHED = "share watched, as the log has it"
#: What the columns' types hold: chances, scores and seconds are float32, and no list is longer than this.
_LEAST_CHANCE, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_LAST_POSITION = 2**31


@dataclass(frozen=True, slots=True)
class Recommended:
    """How each title came to be shown: one row per impression, so a row that was not clicked has clicked
    False and completion 0.

    Attributes:
        score: the recommender's, float32 [V]; NaN where the title was not recommended or the log has none.
        position: place in the list from 1, int64 [V]; 0 where not recommended or not known.
        propensity: chance that it was seen there, in (0, 1], float32 [V]; NaN where not known.
        clicked: bool [V]. watch_s: seconds watched, float32 [V]; NaN where not known.
    """

    score: NDArray[np.float32]
    position: NDArray[np.int64]
    propensity: NDArray[np.float32]
    clicked: NDArray[np.bool_]
    watch_s: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ViewingLog:
    """Viewings, oldest first; those of one moment in the order of the log.

    Attributes:
        users: index into user_ids, int64 [V]. titles: index into media_ids, int64 [V].
        at_s: seconds of the Unix epoch, float64 [V], ascending.
        completion: share watched, 0 to 1, float32 [V]; NaN where not known.
        recommended: only where the log says something of it.
        completion_is: how completion was told, for reports.
    """

    users: NDArray[np.int64]
    titles: NDArray[np.int64]
    at_s: NDArray[np.float64]
    completion: NDArray[np.float32]
    user_ids: tuple[str, ...]
    media_ids: tuple[str, ...]
    recommended: Recommended | None = None
    completion_is: str = WATCHED

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | NDArray[np.int64]) -> ViewingLog:
        """Some rows, by a mask [V] or by ascending places; the ids stay as they are."""
        given = self.recommended
        return replace(
            self,
            users=self.users[rows],
            titles=self.titles[rows],
            at_s=self.at_s[rows],
            completion=self.completion[rows],
            recommended=None
            if given is None
            else Recommended(*(getattr(given, field.name)[rows] for field in fields(given))),
        )


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
    if here is not None and here.is_dir():
        from resonance.clients.audit.ratings import read_ratings

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


class Numbered:
    """Names in the order in which they first came. `found`: the number of each."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def of(self, given: list[str]) -> NDArray[np.int64]:
        """The numbers of some names, int64 [n]; new ones get the next."""
        found = self.found
        return np.array([found.setdefault(name, len(found)) for name in given], np.int64)


def make_log(
    uri: str,
    parts: list[dict[str, NDArray[Any]]],
    users: Numbered,
    titles: Numbered,
    *,
    completion_is: str = WATCHED,
) -> ViewingLog:
    """A log of columns in parts, sorted by time.

    Raises:
        CatalogueError: there is no row.
    """
    if not parts:
        raise CatalogueError(uri, "no viewing", _LAYOUT.expected)
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["at_s"], kind="stable")
    whole = {name: column[order] for name, column in whole.items()}
    told = "score" in whole and _says_anything(whole)
    return ViewingLog(
        users=whole["users"],
        titles=whole["titles"],
        at_s=whole["at_s"],
        completion=whole["completion"].astype(np.float32),
        user_ids=tuple(users.found),
        media_ids=tuple(titles.found),
        recommended=Recommended(
            score=whole["score"].astype(np.float32),
            position=whole["position"].astype(np.int64),
            propensity=whole["propensity"].astype(np.float32),
            clicked=whole["clicked"],
            watch_s=whole["watch_s"].astype(np.float32),
        )
        if told
        else None,
        completion_is=completion_is,
    )


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
    try:
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        elif path.suffix == ".csv":
            pyarrow.csv.write_csv(table, path)
        else:
            raise UsageError(f"{path}: ending '{path.suffix}'; expected .csv or .parquet")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error})") from error


def _says_anything(whole: dict[str, NDArray[Any]]) -> bool:
    known = [np.isfinite(whole[name]).any() for name in ("score", "propensity", "watch_s")]
    return any(known) or bool((whole["position"] > 0).any() or not whole["clicked"].all())


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
