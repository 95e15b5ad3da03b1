"""Which rows of a batch a filter takes, by its columns: facts of a row cost more to make than its score."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resonance.clients.discovery.types import Filter
from resonance.clients.ingest.types import day_of
from resonance.space.blocks import BoolArray


def rows_taken(batch: pa.RecordBatch, only: Filter) -> BoolArray:
    """`Filter.takes` of each row, bool [n]; `batch` has the columns that `facts_of` reads."""
    taken = np.ones(len(batch), np.bool_)
    if only.excluded:
        taken &= ~_is_in(batch["media_id"], sorted(only.excluded))
    if only.languages:
        taken &= _is_in(batch["language"], only.languages)
    taken &= present_taken(batch["present"], only)
    if only.tags:
        tags, owners = batch["tags"].flatten(), pc.list_parent_indices(batch["tags"]).to_numpy()
        for tag in only.tags:
            has = np.zeros(len(batch), np.bool_)
            has[owners[_is_in(tags, [tag])]] = True
            taken &= has
    if only.since is not None or only.until is not None:
        rows = np.flatnonzero(taken)
        for at, attributes in zip(rows, batch["attributes"].take(pa.array(rows)).to_pylist(), strict=True):
            taken[at] = only.takes_day(day_of(dict(attributes or ())))
    return taken


def present_taken(present: pa.StructArray, only: Filter) -> BoolArray:
    """`Filter.takes_present` of each title or segment, bool [n]."""
    if not only.modalities:
        return np.ones(len(present), np.bool_)
    columns = [present.field(name) for name in only.modalities]
    return np.asarray(np.any([column.to_numpy(zero_copy_only=False) for column in columns], axis=0), np.bool_)


def _is_in(column: pa.StringArray, values: list[str] | tuple[str, ...]) -> BoolArray:
    """Null is none of them."""
    found = pc.is_in(column, value_set=pa.array(values, column.type))
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
