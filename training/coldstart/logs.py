"""Logs made to fit: the titles of a store, two logs as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.errors import MediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.opening import open_uri
from resonance.training.coldstart.splitting import watched_rows


def only_titles(log: ViewingLog, media_ids: Sequence[str]) -> tuple[ViewingLog, NDArray[np.bool_]]:
    """The viewings of some titles, numbered as these are given; and which rows they are, bool [V]."""
    numbers = {name: at for at, name in enumerate(media_ids)}
    renumbered = np.array([numbers.get(name, -1) for name in log.media_ids], np.int64)
    rows = renumbered[log.titles] >= 0
    kept = log.take(rows)
    return replace(kept, titles=renumbered[kept.titles], media_ids=tuple(media_ids)), rows


def join_logs(earlier: ViewingLog, later: ViewingLog) -> tuple[ViewingLog, NDArray[np.bool_]]:
    """Two logs as one, and which rows are of the second, bool [V]."""
    user_ids = tuple(dict.fromkeys((*earlier.user_ids, *later.user_ids)))
    media_ids = tuple(dict.fromkeys((*earlier.media_ids, *later.media_ids)))
    parts = [_watched(log) for log in (earlier, later)]
    at_s = np.concatenate([log.at_s for log in parts])
    order = np.argsort(at_s, kind="stable")
    joined = ViewingLog(
        np.concatenate([_renumbered(log.users, log.user_ids, user_ids) for log in parts])[order],
        np.concatenate([_renumbered(log.titles, log.media_ids, media_ids) for log in parts])[order],
        at_s[order],
        np.concatenate([log.completion for log in parts])[order],
        user_ids,
        media_ids,
        completion_is=earlier.completion_is,
    )
    return joined, (np.arange(len(at_s)) >= len(parts[0]))[order]


def _watched(log: ViewingLog) -> ViewingLog:
    return replace(log.take(watched_rows(log)), recommended=None)


def _renumbered(numbers: NDArray[np.int64], names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    places = {name: at for at, name in enumerate(wanted)}
    return np.array([places[name] for name in names], np.int64)[numbers]


def read_names(uri: str) -> tuple[str, ...]:
    """Media ids of a text file, one a line.

    Raises:
        CatalogueError: it cannot be read, or holds none. ServerError, UsageError: see `open_uri`.
    """
    expected = "media ids in UTF-8, one a line"
    try:
        with open_uri(uri) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except MediaError as error:
        raise CatalogueError(uri, error.came, expected) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(uri, f"{type(error).__name__}: {error}", expected) from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise CatalogueError(uri, "no line", expected)
    return found
