"""Logs of ratings in the style of MovieLens (https://files.grouplens.org/datasets/movielens): a folder with
``ratings.csv`` (userId, movieId, rating, timestamp) and maybe ``movies.csv`` (movieId, title, genres).

A rating is not a share watched. It is read as

    completion = rating / best rating of the log

so that the best counts as watched to the end; reports say so. The time is that of the rating, which may come
long after the viewing. A title is called by its movieId: the store must do so too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.columns import names, numbers, times_s
from resonance.clients.audit.table import Layout, read_table
from resonance.clients.audit.viewing_log import Numbered, ViewingLog, make_log

RATINGS_FILE, MOVIES_FILE = "ratings.csv", "movies.csv"
RATED = "rating / best rating of the log: not a share watched"
_RATINGS = Layout(
    needed=("userId", "movieId", "rating", "timestamp"),
    expected=f"{RATINGS_FILE} of MovieLens: userId,movieId,rating,timestamp",
)
_MOVIES = Layout(needed=("movieId", "genres"), expected=f"{MOVIES_FILE} of MovieLens: movieId,title,genres")
_NO_GENRE = "(no genres listed)"


def read_ratings(folder: Path, *, progress: Callable[[int], None] | None = None) -> ViewingLog:
    """The ratings of a folder as viewings. Blocks.

    Args:
        progress: is told how many rows have been read.

    Raises:
        CatalogueError: `RATINGS_FILE` is not there or cannot be read, or a row makes no sense.
    """
    uri = str(folder / RATINGS_FILE)
    users, titles = Numbered(), Numbered()
    parts: list[dict[str, NDArray[Any]]] = []
    least = float(np.nextafter(0, 1))
    for rows in read_table(uri, _RATINGS):
        part: dict[str, NDArray[Any]] = {
            "users": users.of(names(rows, "userId")),
            "titles": titles.of(names(rows, "movieId")),
            "at_s": times_s(rows, "timestamp"),
            "completion": numbers(rows, "rating", low=least, expected="a rating above 0"),
        }
        parts.append(part)
        if progress is not None:
            progress(rows.first + rows.size - 1)
    best = max((float(np.nanmax(part["completion"], initial=0)) for part in parts), default=0.0)
    for part in parts:
        part["completion"] /= best or 1.0
    return make_log(uri, parts, users, titles, completion_is=RATED)


def read_genres(folder: Path) -> dict[str, tuple[str, ...]]:
    """The genres of each title, sorted, by movieId; empty where it is no folder with `MOVIES_FILE`. Blocks.

    Raises:
        CatalogueError: it cannot be read, or a row is no title's.
    """
    if not (folder / MOVIES_FILE).is_file():
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for rows in read_table(str(folder / MOVIES_FILE), _MOVIES):
        for media_id, genres in zip(names(rows, "movieId"), rows.columns["genres"], strict=True):
            told = {genre.strip() for genre in (genres or "").split("|")}
            found[media_id] = tuple(sorted(told - {"", _NO_GENRE}))
    return found
