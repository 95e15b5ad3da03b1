"""Viewings as columns of numbers: who watched which title when, how far, and how it came to be shown."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.clients.ingest.errors import CatalogueError

#: What a log has to be, for errors.
EXPECTED = (
    "a log of viewings: .csv, .jsonl, .ndjson or .parquet with columns user, title, time and "
    "completion, or a folder with ratings.csv"
)
#: How completion was told, for reports.
WATCHED = "share watched, as the log has it"


@dataclass(frozen=True, slots=True, eq=False)
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


@dataclass(frozen=True, slots=True, eq=False)
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
        raise CatalogueError(uri, "no viewing", EXPECTED)
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


def _says_anything(whole: dict[str, NDArray[Any]]) -> bool:
    known = [np.isfinite(whole[name]).any() for name in ("score", "propensity", "watch_s")]
    return any(known) or bool((whole["position"] > 0).any() or not whole["clicked"].all())
