"""Titles whose blocks, axes and signals are chosen, to explain suggestions with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from resonance.clients.discovery.sample import LibrarySample, title_signals
from resonance.clients.discovery.types import StoredTitle, TitleFacts
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import AxisValue, MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space import MODALITIES, join, unit
from tests.space.strategies import make_descriptor

DESCRIPTOR = make_descriptor()
SPACE = SpaceRef.of(DESCRIPTOR)
ALL = (True, True, True)
#: Modalities lie apart: the mean block of each, 0.7 of a block long.
GAP = 0.7 * unit(np.random.default_rng(0).standard_normal((3, 596)))


def random_blocks(chance: np.random.Generator) -> np.ndarray:
    """Unit blocks [3, 596] of a title, about the middle of their modality."""
    return unit(GAP + unit(chance.standard_normal((3, 596))))


def towards(blocks: np.ndarray, other: np.ndarray, m: int, by: float) -> np.ndarray:
    """`blocks` with block m moved towards that of `other`: by 0 nothing, by 1 all the way."""
    moved = blocks.copy()
    moved[m] = unit((1 - by) * blocks[m] + by * other[m])
    return moved


def stored(
    media_id: str,
    blocks: np.ndarray,
    present: tuple[bool, bool, bool] = ALL,
    *,
    segments: int = 3,
    axes: Mapping[str, float] | None = None,
    signals: Mapping[str, float | None] | None = None,
    clock: bool = True,
) -> StoredTitle:
    """A title of blocks [3, 596]; its segments lie about it, absent blocks are inferred as the plain mean."""
    chance = np.random.default_rng(int.from_bytes(media_id.encode(), "big") % 2**63)
    there = np.array(present)

    def filled(rows: np.ndarray) -> np.ndarray:
        return np.where(there[:, None], rows, unit(rows[there].mean(axis=0)))

    parts = tuple(
        Segment(
            index=at,
            start_s=8.0 * at if clock else None,
            end_s=8.0 * at + 8 if clock else None,
            present=present,
            vector=join(filled(unit(blocks + 0.3 * unit(chance.standard_normal((3, 596)))))).astype(
                np.float32
            ),
            signals=dict(signals or {}),
            sampled_by=SampledBy.KEYFRAMES,
            frame_times_s=(),
            salience=1 / segments,
            axes=dict(axes or {}),
        )
        for at in range(segments)
    )
    facts = TitleFacts(
        media_id=media_id,
        uri=f"/library/{media_id}.mp4",
        duration_s=8.0 * segments if clock else None,
        present=present,
        axes={name: AxisValue(value, *LABELS[name]) for name, value in (axes or {}).items()},
    )
    return StoredTitle(facts, join(filled(blocks)).astype(np.float32), parts, {})


#: Labels of the axes' ends.
LABELS = {"tension": ("serene", "frantic"), "mood": ("dark", "bright"), "pace": ("still", "rapid")}


def sample_of(titles: Sequence[StoredTitle]) -> LibrarySample:
    """The sample that has them all."""
    signals = [title_signals(title) for title in titles]
    names = sorted({name for of_one in signals for name in of_one})
    return LibrarySample(
        tuple(title.facts.media_id for title in titles),
        np.array([title.vector for title in titles], np.float32).reshape(-1, 1788),
        np.array([title.facts.present for title in titles], np.bool_).reshape(-1, 3),
        {name: np.array([of_one.get(name, np.nan) for of_one in signals]) for name in names},
    )


def write(uri: str | Path, titles: Iterable[StoredTitle]) -> None:
    """Store them, as an ingestion does."""
    sink = open_sink(str(uri), SPACE)
    try:
        sink.write(pa.concat_tables([_row(title) for title in titles]), batch="1")
    finally:
        sink.close()


def _row(title: StoredTitle) -> pa.Table:
    facts = title.facts
    result = MediaEmbedding(
        media=facts.media_id,
        space=SPACE,
        duration_s=facts.duration_s,
        modalities=tuple(m for m, there in zip(MODALITIES, facts.present, strict=True) if there),
        title=title.vector,
        present=facts.present,
        segments=title.segments,
        arcs={},
        timing=Timing(0, 0, 0, 0, 0),
        axes=facts.axes,
    )
    return title_row(CatalogueItem(media_id=facts.media_id, uri=facts.uri), "v1", result)
