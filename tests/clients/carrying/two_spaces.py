"""Two stores of two spaces: real blocks of the family `tiny`, and the same seen by another encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space import MODALITIES, Descriptor, join, unit
from tests.space.strategies import make_descriptor

REFERENCE = Path(__file__).parents[3] / "export" / "families" / "tiny.reference.npz"
TITLES = 512

OLD = make_descriptor(trained=True)
NEW = replace(
    make_descriptor(
        trained=True, sigmas={q: {b: 0.25 if q == b else 0.5 for b in MODALITIES} for q in MODALITIES}
    ),
    encoders={"visual_encoder": replace(OLD.encoders["visual_encoder"], weights_sha256="1" * 64)},
)


def old_blocks() -> np.ndarray:
    """Unit blocks [512, 3, 596] that `tiny` gives held-out titles of its world."""
    with np.load(REFERENCE) as arrays:
        return unit(arrays["blocks"].astype(np.float64))


def new_blocks(blocks: np.ndarray, *, noise: float = 0.3, seed: int = 3) -> np.ndarray:
    """As another encoder might see them: turned, gaps moved, and `noise` block lengths of chance in each."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((596, 596)))[0]
    gaps = 0.5 * unit(rng.standard_normal((3, 596)))
    return unit(blocks @ rotation + gaps + noise * unit(rng.standard_normal(blocks.shape)))


def write_titles(
    uri: str,
    space: Descriptor,
    blocks: np.ndarray,
    *,
    names: Sequence[str] | None = None,
    versions: Sequence[str] | None = None,
    present: Sequence[tuple[bool, bool, bool]] | None = None,
) -> None:
    """A title of one segment for each of blocks [n, 3, 596]; by default t0, t1, ..., all of version v."""
    vectors = join(blocks).astype(np.float32)
    count = len(vectors)
    rows = [
        _row(name, version, SpaceRef.of(space), vector, there)
        for name, version, vector, there in zip(
            names or [f"t{at}" for at in range(count)],
            versions or ["v"] * count,
            vectors,
            present or [(True, True, True)] * count,
            strict=True,
        )
    ]
    sink = open_sink(uri, SpaceRef.of(space))
    try:
        sink.write(pa.concat_tables(rows), batch="1")
    finally:
        sink.close()


def _row(
    name: str, version: str, space: SpaceRef, vector: np.ndarray, present: tuple[bool, bool, bool]
) -> pa.Table:
    segment = Segment(0, 0.0, 8.0, present, vector, {}, SampledBy.KEYFRAMES, (), salience=1.0)
    result = MediaEmbedding(
        media=name,
        space=space,
        duration_s=8.0,
        modalities=tuple(m for m, there in zip(MODALITIES, present, strict=True) if there),
        title=vector,
        present=present,
        segments=(segment,),
        arcs={},
        timing=Timing(0, 0, 0, 0, 0),
    )
    return title_row(CatalogueItem(media_id=name, uri=f"/library/{name}.mp4"), version, result)
