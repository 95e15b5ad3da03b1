"""A library of segments whose likeness to a query is known."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space import MODALITIES, Descriptor, join, unit
from resonance.space.scores import Query, query_from_blocks


@dataclass(frozen=True, slots=True)
class Part:
    """A segment: how alike to `likeness_query` it is, 0 to 1, and where it lies (None: without a clock)."""

    likeness: float
    start_s: float | None = 0.0
    end_s: float | None = 8.0
    frame_times_s: tuple[float, ...] = ()
    present: tuple[bool, bool, bool] = (True, True, False)


_WANTED = unit(np.random.default_rng(1).standard_normal(596))


def likeness_query(descriptor: Descriptor) -> Query:
    """The query that `Part.likeness` is of."""
    return query_from_blocks(dict.fromkeys(MODALITIES, _WANTED), descriptor)


def write_library(uri: str, titles: Sequence[tuple[str, str, Sequence[Part]]], descriptor: Descriptor) -> str:
    """Store titles (media id, uri of the media, segments); gives `uri`."""
    space = SpaceRef.of(descriptor)
    sink = open_sink(uri, space)
    try:
        sink.write(pa.concat_tables([_row(*title, space) for title in titles]), batch="1")
    finally:
        sink.close()
    return uri


def _row(media_id: str, media_uri: str, parts: Sequence[Part], space: SpaceRef) -> pa.Table:
    chance = np.random.default_rng(zlib.crc32(media_id.encode()))
    segments = []
    for index, part in enumerate(parts):
        other = chance.standard_normal((3, 596))
        other -= (other @ _WANTED)[:, None] * _WANTED  # (3, 596), at right angles to what is wanted
        blocks = part.likeness * _WANTED + np.sqrt(1 - part.likeness**2) * unit(other)
        segments.append(
            Segment(
                index=index,
                start_s=part.start_s,
                end_s=part.end_s,
                present=part.present,
                vector=join(blocks).astype(np.float32),
                signals={},
                sampled_by=SampledBy.KEYFRAMES,
                frame_times_s=part.frame_times_s,
                salience=1 / len(parts),
            )
        )
    present = tuple(any(s.present[m] for s in segments) for m in range(3))
    result = MediaEmbedding(
        media=media_id,
        space=space,
        duration_s=max((s.end_s for s in segments if s.end_s is not None), default=None),
        modalities=tuple(m for m, there in zip(MODALITIES, present, strict=True) if there),
        title=segments[0].vector,
        present=(present[0], present[1], present[2]),
        segments=tuple(segments),
        arcs={},
        timing=Timing(0, 0, 0, 0, 0),
    )
    return title_row(CatalogueItem(media_id=media_id, uri=media_uri), "v1", result)
