"""`python -m resonance.loadtest.discovery.scale`: a million vectors in the engine of Qdrant.

Recall, times and memory.
Vectors are drawn to lie as the reference set of `tiny` does; queries are of one modality, copied into every
block as `resonance.space.query_from_blocks` has it. What is exact is computed while the vectors are stored.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import qdrant_edge as edge
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from resonance.export.families import tiny
from resonance.loadtest.discovery.crowd import Crowd
from resonance.loadtest.discovery.engine import Engine
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH, Descriptor
from resonance.space.scores import Weights, query_from_blocks

SPACE = Path("model_repository/space_descriptor/1/space.json")
OUT = Path("build/discovery/scale.json")
AT_ONCE = 2000
LIMIT = 10
#: Searches before those that are timed: what is read the first time comes from the disk.
WARM_UP = 20


class Quantisation(StrEnum):
    """What is kept in memory of each number of a vector."""

    NONE = "none"  # nothing: vectors are read from the disk
    INT8 = "int8"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Setting:
    """How the graph is searched: `ef` candidates, `oversampling` times as many scored again exactly."""

    ef: int
    oversampling: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """Recall@10 against exact search, and times of one search at a time."""

    setting: Setting
    recall: float
    p50_ms: float
    p95_ms: float


def main(
    vectors: Annotated[int, typer.Option(help="How many.")] = 1_000_000,
    quantisation: Quantisation = Quantisation.INT8,
    queries: int = 200,
    m: Annotated[int, typer.Option(help="Neighbours of each point in the graph.")] = 16,
    ef_construct: int = 100,
    folder: Annotated[Path | None, typer.Option(help="Where there is room: 8 KB a vector, twice.")] = None,
    out: Path = OUT,
) -> None:
    """Store, index, search; a table on stdout and JSON in --out."""
    console = Console(stderr=True)
    reference = np.load(tiny.REFERENCE)["blocks"].astype(np.float32)
    crowd = Crowd(reference, seed=3)
    asked = _queries(Crowd(reference, seed=4), queries)
    with _room(folder) as place:
        engine = Engine.create(
            place / "shard", TITLE_WIDTH, quantisation=_config(quantisation), m=m, ef_construct=ef_construct
        )
        exact = _Exact(asked)
        began = time.monotonic()
        chunks = crowd.vectors(vectors, AT_ONCE)
        for chunk in track(chunks, "storing", total=-(-vectors // AT_ONCE), console=console):
            exact.add(chunk)
            engine.add(chunk)
        stored_s = time.monotonic() - began
        began = time.monotonic()
        with console.status("building the graph"):
            engine.index()
        indexed_s = time.monotonic() - began
        settings = [Setting(ef, over) for ef in (64, 128, 256, 512) for over in _oversampling(quantisation)]
        found = [_searched(engine, asked, exact.best, setting) for setting in settings]
        size_bytes = sum(path.stat().st_blocks * 512 for path in place.rglob("*") if path.is_file())
        report = {
            "vectors": vectors,
            "quantisation": quantisation,
            "m": m,
            "ef_construct": ef_construct,
            "stored_s": round(stored_s),
            "indexed_s": round(indexed_s),
            "disk_gib": round(size_bytes / 2**30, 2),
            "anonymous_memory_gib": round(_anonymous_bytes() / 2**30, 2),
            "found": [asdict(f) for f in found],
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    console.print_json(data=report)


def _queries(crowd: Crowd, count: int) -> NDArray[np.float32]:
    """q' of one block each, the modalities in turn, float32 [count, 1788]."""
    descriptor = Descriptor.load(SPACE)
    blocks = crowd.draw(count)
    return np.stack(
        [
            query_from_blocks({MODALITIES[i % 3]: blocks[i, i % 3]}, descriptor).weighted(Weights())
            for i in range(count)
        ]
    ).astype(np.float32)


class _Exact:
    """The best `LIMIT` of all vectors for each query, by plain arithmetic."""

    def __init__(self, queries: NDArray[np.float32]) -> None:
        self._queries, self._seen = queries, 0
        self._scores = np.full((len(queries), LIMIT), -np.inf, np.float32)
        self.best = np.full((len(queries), LIMIT), -1, np.int64)

    def add(self, vectors: NDArray[np.float32]) -> None:
        scores = np.concatenate([self._scores, self._queries @ vectors.T], axis=1)  # (Q, LIMIT + N)
        numbers = np.concatenate(
            [self.best, np.broadcast_to(self._seen + np.arange(len(vectors)), (len(scores), len(vectors)))], 1
        )
        top = np.argpartition(-scores, LIMIT, axis=1)[:, :LIMIT]
        self._scores = np.take_along_axis(scores, top, 1)
        self.best = np.take_along_axis(numbers, top, 1)
        self._seen += len(vectors)


def _searched(
    engine: Engine, queries: NDArray[np.float32], best: NDArray[np.int64], setting: Setting
) -> Found:
    for query in queries[:WARM_UP]:
        engine.nearest(query, LIMIT, ef=setting.ef, oversampling=setting.oversampling)
    took_ms, shared = [], []
    for query, right in zip(queries, best, strict=True):
        began = time.perf_counter()
        found = engine.nearest(query, LIMIT, ef=setting.ef, oversampling=setting.oversampling)
        took_ms.append(1e3 * (time.perf_counter() - began))
        shared.append(len(set(found) & set(right.tolist())) / LIMIT)
    p50_ms, p95_ms = (round(float(np.quantile(took_ms, q)), 1) for q in (0.5, 0.95))
    return Found(setting, round(float(np.mean(shared)), 4), p50_ms, p95_ms)


def _config(
    quantisation: Quantisation,
) -> edge.ScalarQuantizationConfig | edge.BinaryQuantizationConfig | None:
    if quantisation == Quantisation.INT8:
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, always_ram=True)
    return edge.BinaryQuantizationConfig(always_ram=True) if quantisation == Quantisation.BINARY else None


def _oversampling(quantisation: Quantisation) -> tuple[float | None, ...]:
    return (None,) if quantisation == Quantisation.NONE else (1.0, 3.0)


def _anonymous_bytes() -> int:
    """Memory that cannot be dropped and read again from a file."""
    return int(psutil.Process().memory_full_info().uss)


@contextmanager
def _room(folder: Path | None) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
