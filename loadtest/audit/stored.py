"""A simulated library written as a store, by the thousands; its titles have no segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resonance.clients.arrow_types import VECTOR
from resonance.clients.ingest.rows import title_schema
from resonance.clients.ingest.stores import open_sink
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.tagged import FactorModel, Poorer, draw_sample
from resonance.space.blocks import ROOT_BLOCKS
from resonance.space.descriptor import MODALITIES

_SPACE = SpaceRef("simulated", "simulated", True)
_AT_ONCE = 10_000


def write_store(uri: str, titles: int, poorer: Poorer | None = None) -> None:
    """A store of so many titles, named by number."""
    model = FactorModel(np.random.default_rng(0))
    sink = open_sink(uri, _SPACE)
    for first in range(0, titles, _AT_ONCE):
        n = min(_AT_ONCE, titles - first)
        sample = draw_sample(model, n, poorer or Poorer(), np.random.default_rng([1, first]), unit=True)
        vectors = (sample.blocks / np.float32(ROOT_BLOCKS)).reshape(n, -1)  # (n, 1788)
        names = tuple(str(first + at) for at in range(n))
        rows = title_rows(names, vectors, sample.present, sample.tags, _SPACE)
        sink.write(rows, batch=f"simulated-{first}")
    sink.close()


def title_rows(
    media_ids: Sequence[str],
    vectors: NDArray[np.float32],
    present: NDArray[np.bool_],
    tags: Sequence[Sequence[str]],
    space: SpaceRef,
) -> pa.Table:
    """Titles without segments, as a store has them; vectors: float32 [n, 1788]; present: bool [n, 3]."""
    n = len(media_ids)
    schema = title_schema(space)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))  # (n * 1788,)
    shown = pa.StructArray.from_arrays(
        [pa.array(present[:, at]) for at in range(len(MODALITIES))], names=list(MODALITIES)
    )
    columns: dict[str, pa.Array] = {
        "media_id": pa.array(media_ids),
        "uri": pa.array([f"simulated:{name}" for name in media_ids]),
        "content_hash": pa.array(["1"] * n),
        "tags": pa.array([list(own) for own in tags], pa.list_(pa.string())),
        "present": shown,
        "vector": pa.FixedSizeListArray.from_arrays(flat, type=VECTOR),
    }
    rows = {field.name: columns.get(field.name, pa.nulls(n, field.type)) for field in schema}
    return pa.table(rows, schema=schema)
