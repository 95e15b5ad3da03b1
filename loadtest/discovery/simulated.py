"""Rows of a store for simulated titles: only their vectors mean something."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing

SEGMENT_S = 8.0
_NO_TIME = Timing(0.0, 0.0, 0.0, 0.0, 0.0)


def simulated_rows(
    vectors: NDArray[np.float32], first: int, segments: int, space: SpaceRef
) -> list[pa.Table]:
    """A row for each of `vectors` [N, 1788], named by its number from `first` on.

    Each has `segments` segments, all with the title's vector: for times and sizes, not for what is found.
    """
    present = (True, True, True)
    rows = []
    for at, vector in enumerate(vectors):
        parts = tuple(
            Segment(
                index=index,
                start_s=SEGMENT_S * index,
                end_s=SEGMENT_S * (index + 1),
                present=present,
                vector=vector,
                signals={},
                sampled_by=SampledBy.KEYFRAMES,
                frame_times_s=(),
                salience=1 / segments,
            )
            for index in range(segments)
        )
        name = str(first + at)
        result = MediaEmbedding(
            media=name,
            space=space,
            duration_s=SEGMENT_S * segments,
            modalities=("visual", "audio", "transcript"),
            title=vector,
            present=present,
            segments=parts,
            arcs={},
            timing=_NO_TIME,
        )
        rows.append(title_row(CatalogueItem(media_id=name, uri=f"simulated:{name}"), "1", result))
    return rows
