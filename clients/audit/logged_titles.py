"""The titles of a log as a store has them: blocks, tags, axes, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.groups import GroupSource
from resonance.clients.discovery.rows import FACTS, facts_of, vectors_of
from resonance.clients.ingest.types import Store
from resonance.clients.results import Vector
from resonance.space.blocks import BoolArray, FloatArray
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH

#: Titles asked for at once: 7 MB of vectors.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Titles:
    """Titles by their place in a log's `media_ids`, N of them.

    Attributes:
        known: which of them the store has, bool [N]; what follows says nothing of the others.
        vectors: float32 [N, 1788]. present: bool [N, 3].
        tags: N tuples. axes: value on each axis, 0 to 1, float64 [N, A]; NaN where there is none.
        axis_names: A names. groups: by source, the group of each title; None or "" where it has none.
    """

    known: BoolArray
    vectors: Vector
    present: BoolArray
    tags: tuple[tuple[str, ...], ...]
    axes: FloatArray
    axis_names: tuple[str, ...]
    groups: dict[str, tuple[str | None, ...]]


def read_titles(
    store: Store,
    media_ids: Sequence[str],
    sources: Sequence[GroupSource],
    more_tags: Mapping[str, tuple[str, ...]],
) -> Titles:
    """Those of a store; 7 KB of memory a title. Blocks.

    Args:
        sources: of groups. more_tags: by media id, added to those of the store.

    Raises:
        StoreError: it cannot be read.
    """
    places = {name: at for at, name in enumerate(media_ids)}
    count = len(media_ids)
    known = np.zeros(count, np.bool_)
    vectors = np.zeros((count, TITLE_WIDTH), np.float32)
    present = np.zeros((count, len(MODALITIES)), np.bool_)
    tags: list[tuple[str, ...]] = [()] * count
    values: dict[str, NDArray[np.float64]] = {}
    groups: dict[str, list[str | None]] = {source.name: [None] * count for source in sources}
    for first in range(0, count, _AT_ONCE):
        for batch in store.find(media_ids[first : first + _AT_ONCE], [*FACTS, "vector"]):
            found = vectors_of(batch["vector"])
            for vector, row in zip(found, batch.drop_columns(["vector"]).to_pylist(), strict=True):
                facts = facts_of(row)
                at = places[facts.media_id]
                known[at], vectors[at], present[at] = True, vector, facts.present
                tags[at] = tuple(sorted({*facts.tags, *more_tags.get(facts.media_id, ())}))
                for name, axis in facts.axes.items():
                    values.setdefault(name, np.full(count, np.nan))[at] = axis.value
                for source in sources:
                    groups[source.name][at] = source.group_of_facts(facts)
    names = tuple(sorted(values))
    return Titles(
        known=known,
        vectors=vectors,
        present=present,
        tags=tuple(tags),
        axes=np.stack([values[name] for name in names], axis=1) if names else np.zeros((count, 0)),
        axis_names=names,
        groups={name: tuple(told) for name, told in groups.items()},
    )
