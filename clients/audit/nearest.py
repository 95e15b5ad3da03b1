"""The nearest neighbours of some titles of a store, by reading it, whichever store it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resonance.clients.discovery.rows import vectors_of
from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import Store
from resonance.space.descriptor import TITLE_WIDTH


def nearest_rows(store: Store, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Of the titles in `rows`, int64 [n], the `count` others of the largest dot products, best first,
    int64 [n, count]; a title is called by its row. Reads the store twice, a batch at a time. Blocks.

    Raises:
        StoreError: it cannot be read. UsageError: it has no `count` other titles.
    """
    total = store.count()
    if total <= count:
        raise UsageError(f"{store.uri}: {total} titles; expected more than {count}, to compare neighbours")
    asked, first = np.empty((len(rows), TITLE_WIDTH), np.float32), 0
    for batch in store.titles(["vector"]):
        here = (rows >= first) & (rows < first + batch.num_rows)
        asked[here] = vectors_of(batch["vector"])[rows[here] - first]
        first += batch.num_rows
    scores = np.empty((len(rows), 0), np.float32)
    found = np.empty((len(rows), 0), np.int64)
    first = 0
    for batch in store.titles(["vector"]):
        fresh = asked @ vectors_of(batch["vector"]).T  # (n, batch)
        numbers = np.arange(first, first + batch.num_rows)
        fresh[rows[:, None] == numbers] = -np.inf  # itself
        scores = np.concatenate([scores, fresh], axis=1)
        found = np.concatenate([found, np.broadcast_to(numbers, fresh.shape)], axis=1)
        if scores.shape[1] > count:
            best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
            scores = np.take_along_axis(scores, best, axis=1)
            found = np.take_along_axis(found, best, axis=1)
        first += batch.num_rows
    return np.take_along_axis(found, np.argsort(-scores, axis=1), axis=1)
