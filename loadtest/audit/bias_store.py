"""Simulated stores in which groups are known: languages and dates that depend on nothing.

Each kind of title is a direction in every block, each title that direction with noise. Languages and dates
are drawn without regard to the kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resonance.clients.arrow_types import PRESENT, VECTOR
from resonance.clients.ingest.rows import title_schema
from resonance.clients.ingest.stores import open_sink
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH

#: Languages and their shares.
LANGUAGES: Mapping[str, float] = {"en": 0.4, "de": 0.3, "fr": 0.2, "ja": 0.1}
MONTHS = tuple(f"2026-{month:02}" for month in range(1, 13))
#: Length of a title's noise in each block, where its kind's direction has length 1.
NOISE = 1.0
BATCH = 2048


@dataclass(frozen=True, slots=True)
class Simulated:
    """Titles to make. `kinds`: int [N], the kind of each; `languages`: [N]; `attributes`: of each title."""

    kinds: np.ndarray
    languages: list[str]
    attributes: list[dict[str, str]]
    seed: int


def simulate(titles: int, kinds: int, seed: int) -> Simulated:
    """Titles by turns of each kind, their languages and months drawn."""
    chance = np.random.default_rng([seed, 1])
    languages = chance.choice(list(LANGUAGES), titles, p=list(LANGUAGES.values())).tolist()
    months = chance.choice(MONTHS, titles).tolist()
    return Simulated(np.arange(titles) % kinds, languages, [{"date": f"{m}-15"} for m in months], seed)


def write_simulated(uri: str, made: Simulated, space: SpaceRef) -> None:
    """Store them, named by their numbers, without segments."""
    sink = open_sink(uri, space)
    try:
        for number, rows in enumerate(_batches(made, space)):
            sink.write(rows, batch=f"{number:06d}")
    finally:
        sink.close()


def _batches(made: Simulated, space: SpaceRef) -> Iterator[pa.Table]:
    chance = np.random.default_rng([made.seed, 2])
    kinds = int(made.kinds.max()) + 1
    directions = _unit(chance.standard_normal((kinds, len(MODALITIES), BLOCK_WIDTH), dtype=np.float32))
    for start in range(0, len(made.kinds), BATCH):
        here = made.kinds[start : start + BATCH]
        noise = chance.standard_normal((len(here), len(MODALITIES), BLOCK_WIDTH), dtype=np.float32)
        blocks = _unit(directions[here] + NOISE * noise / np.sqrt(BLOCK_WIDTH))
        vectors = (blocks / np.sqrt(len(MODALITIES))).reshape(len(here), TITLE_WIDTH)
        yield _rows(made, start, vectors, space)


def _rows(made: Simulated, start: int, vectors: np.ndarray, space: SpaceRef) -> pa.Table:
    count = len(vectors)
    names = [str(at) for at in range(start, start + count)]
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))  # (n * 1788,)
    schema = title_schema(space)
    columns = {
        "media_id": names,
        "uri": [f"simulated:{name}" for name in names],
        "content_hash": ["1"] * count,
        "language": made.languages[start : start + count],
        "tags": [[]] * count,
        "attributes": [list(told.items()) for told in made.attributes[start : start + count]],
        "segments": [[]] * count,
        "arcs": [[]] * count,
        "axes": [[]] * count,
    }
    arrays = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, type=VECTOR)
    arrays["present"] = pa.array([dict.fromkeys(MODALITIES, True)] * count, PRESENT)
    for name in schema.names:
        if name not in arrays:
            arrays[name] = pa.nulls(count, schema.field(name).type)
    return pa.table({name: arrays[name] for name in schema.names}, schema=schema)


def _unit(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.linalg.norm(blocks, axis=-1, keepdims=True)
