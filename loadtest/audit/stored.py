"""A simulated library written as a store, by the thousands; its titles have no segments."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from resonance.clients.ingest.rows import VECTOR, title_schema
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
    schema = title_schema(_SPACE)
    for first in range(0, titles, _AT_ONCE):
        n = min(_AT_ONCE, titles - first)
        sample = draw_sample(model, n, poorer or Poorer(), np.random.default_rng([1, first]), unit=True)
        flat = (sample.blocks / np.float32(ROOT_BLOCKS)).reshape(-1)  # (n * 1788,)
        present = pa.StructArray.from_arrays(
            [pa.array(sample.present[:, at]) for at in range(len(MODALITIES))], names=list(MODALITIES)
        )
        names = [str(first + at) for at in range(n)]
        columns: dict[str, pa.Array] = {
            "media_id": pa.array(names),
            "uri": pa.array([f"simulated:{name}" for name in names]),
            "content_hash": pa.array(["1"] * n),
            "tags": pa.array([list(tags) for tags in sample.tags], pa.list_(pa.string())),
            "present": present,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), type=VECTOR),
        }
        rows = {field.name: columns.get(field.name, pa.nulls(n, field.type)) for field in schema}
        sink.write(pa.table(rows, schema=schema), batch=f"simulated-{first}")
    sink.close()
