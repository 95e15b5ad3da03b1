"""A Parquet store of titles that have given arcs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH

SPACE = SpaceRef("tiny", "c" * 64, True)
BATCH = 64
SEGMENT_S = 8.0


def write_store(
    uri: str, arcs: Sequence[Mapping[str, list[tuple[float, float]]]], vectors: np.ndarray | None = None
) -> None:
    """Titles named by their number, with `arcs`. `vectors`: of their segments, [n * S, 1788], S to each; one
    segment that points anywhere where none are given."""
    if vectors is None:
        rng = np.random.Generator(np.random.PCG64(0))
        vectors = rng.normal(size=(len(arcs), TITLE_WIDTH))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    parts = np.asarray(vectors, np.float32).reshape(len(arcs), -1, TITLE_WIDTH)  # (n, S, 1788)
    sink = open_sink(uri, SPACE)
    try:
        for start in range(0, len(arcs), BATCH):
            rows = [_row(at, arcs[at], parts[at]) for at in range(start, min(start + BATCH, len(arcs)))]
            sink.write(pa.concat_tables(rows), batch=f"{start:06d}")
    finally:
        sink.close()


def _row(number: int, arcs: Mapping[str, list[tuple[float, float]]], vectors: np.ndarray) -> pa.Table:
    segments = tuple(
        Segment(
            index=at,
            start_s=SEGMENT_S * at,
            end_s=SEGMENT_S * (at + 1),
            present=(True, True, True),
            vector=vector,
            signals={},
            sampled_by=SampledBy.KEYFRAMES,
            frame_times_s=(),
            salience=1 / len(vectors),
        )
        for at, vector in enumerate(vectors)
    )
    mean = vectors.mean(axis=0)
    result = MediaEmbedding(
        media=str(number),
        space=SPACE,
        duration_s=max(points[-1][0] for points in arcs.values()) + SEGMENT_S / 2,
        modalities=MODALITIES,
        title=mean / np.linalg.norm(mean),
        present=(True, True, True),
        segments=segments,
        arcs=arcs,
        timing=Timing(0, 0, 0, 0, 0),
    )
    return title_row(CatalogueItem(media_id=str(number), uri=f"world/{number}"), f"{number:064x}", result)
