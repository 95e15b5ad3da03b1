"""Titles of a store that a log never names, as candidates of its test.

A pool of the log's titles alone is chosen by the outcome: a new title that nobody watched is none of it, so
that no list can show it in vain. It belongs there wherever it could have been watched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from resonance.clients.ingest.types import Store, day_of


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Titles of a store that a log never names.

    Attributes:
        media_ids: the candidates. undated: of them without a day, of which it is not known whether they were
            there before the end of the test.
        later: left out, as their day lies after the end of the test. beyond: left out by lot, being too many.
    """

    media_ids: tuple[str, ...]
    undated: int
    later: int
    beyond: int

    def notes(self) -> tuple[str, ...]:
        """What a reader of figures about new titles must know of them."""
        told = []
        if self.undated:
            told.append(
                f"{self.undated:,} new titles are named nowhere in the log and have no day in the attribute "
                "`date`: those that came after the test could not be watched, and lower what is found."
            )
        if self.beyond:
            told.append(
                f"{self.beyond:,} titles that the log never names are left out (--unnamed): among all of "
                "them less would be found."
            )
        return tuple(told)


def unnamed_titles(
    store: Store,
    named: Collection[str],
    *,
    end_s: float,
    most: int,
    wanted: Collection[str] = (),
    seed: int = 0,
) -> Unnamed:
    """Those that could have been watched by the end of the test; reads names and attributes once. Blocks.

    Args:
        named: media ids of the log. end_s: the last moment of the log, seconds of the Unix epoch.
        most: so many at most, drawn: each costs 7 KB of memory for every store of vectors.
        wanted: taken whatever their day and number, where the store has them.

    Raises:
        StoreError: it cannot be read.
    """
    there, asked = frozenset(named), frozenset(wanted)
    last = datetime.fromtimestamp(end_s, UTC).date()
    kept: list[str] = []
    free: list[str] = []
    undated: set[str] = set()
    later = 0
    for batch in store.titles(["media_id", "attributes"]):
        for name, told in zip(batch["media_id"].to_pylist(), batch["attributes"].to_pylist(), strict=True):
            if name in there:
                continue
            day = day_of(dict(told or ()))
            if day is None:
                undated.add(name)
            if name in asked:
                kept.append(name)
            elif day is not None and day > last:
                later += 1
            else:
                free.append(name)
    taken = min(most, len(free))
    drawn = np.sort(np.random.default_rng([seed, 8]).choice(len(free), taken, replace=False))
    chosen = (*kept, *(free[at] for at in drawn))
    return Unnamed(chosen, sum(name in undated for name in chosen), later, len(free) - taken)
