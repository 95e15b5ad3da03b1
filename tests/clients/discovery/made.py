"""A small library of titles with known vectors, tags, languages and dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import Damage, SampledBy, StreamSignal
from resonance.clients.results import AxisValue, MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space import MODALITIES, join, unit
from tests.space.strategies import make_descriptor

DESCRIPTOR = make_descriptor()
SPACE = SpaceRef.of(DESCRIPTOR)

#: The 15th, as catalogues write it; the third begins another day in Greenwich.
_DATES = ("2026-{:02}-15", "2026-{:02}-15 08:00", "2026-{:02}-15T23:30:00-05:00", "2026{:02}15")


@dataclass(frozen=True, slots=True)
class Made:
    """A title to make; blocks: float64 [S, 3, 596], unit, of its segments."""

    media_id: str
    blocks: np.ndarray
    present: tuple[bool, bool, bool] = (True, True, True)
    tags: tuple[str, ...] = ()
    language: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    clock: bool = True
    damage: Damage = field(default_factory=Damage)

    @property
    def vector(self) -> np.ndarray:
        """Float32 [1788]: the mean block of each modality."""
        return join(unit(self.blocks.mean(axis=0))).astype(np.float32)

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(
            Segment(
                index=at,
                start_s=8.0 * at if self.clock else None,
                end_s=8.0 * at + 8 if self.clock else None,
                present=self.present,
                vector=join(blocks).astype(np.float32),
                signals={
                    "motion": StreamSignal(0.25, "packet sizes", 0.5),
                    "brightness": 0.1 + at / 100,
                    "words_per_second": None,
                },
                sampled_by=SampledBy.KEYFRAMES,
                frame_times_s=(8.0 * at, 8.0 * at + 2),
                salience=1 / len(self.blocks),
                axes={"tension": 0.75},
            )
            for at, blocks in enumerate(self.blocks)
        )

    def row(self, version: str = "v1") -> pa.Table:
        segments = self.segments
        result = MediaEmbedding(
            media=self.media_id,
            space=SPACE,
            duration_s=8.0 * len(segments) if self.clock else None,
            modalities=tuple(m for m, there in zip(MODALITIES, self.present, strict=True) if there),
            title=self.vector,
            present=self.present,
            segments=segments,
            arcs={"pacing": [(8.0 * at + 4, at / max(len(segments) - 1, 1)) for at in range(len(segments))]},
            timing=Timing(0, 0, 0, 0, 0),
            axes={"tension": AxisValue(0.75, "calm", "tense")},
            damage=self.damage,
        )
        item = CatalogueItem(
            media_id=self.media_id,
            uri=f"/library/{self.media_id}.mp4",
            language=self.language,
            tags=self.tags,
            attributes=self.attributes,
        )
        return title_row(item, version, result)


def random_titles(count: int, *, segments: int = 3, seed: int = 5) -> list[Made]:
    """Random titles t0, t1, ...; every second in German, every third tagged, each of another day of 2026."""
    chance = np.random.default_rng(seed)
    return [
        Made(
            f"t{at}",
            unit(chance.standard_normal((segments, len(MODALITIES), 596))),
            present=[(True, True, True), (True, False, True), (False, True, False)][at % 3],
            tags=("film", "rare") if at % 3 == 0 else ("film",),
            language="de" if at % 2 else "en",
            attributes={"date": _DATES[at // 12 % 4].format(at % 12 + 1)} if at % 5 else {},
        )
        for at in range(count)
    ]


def write(uri: str, titles: Sequence[Made], *, batch: str = "1", version: str = "v1") -> None:
    """Store them, as an ingestion does."""
    sink = open_sink(uri, SPACE)
    try:
        sink.write(
            pa.concat_tables([t.row(version) for t in titles]),
            batch=batch,
            replaces=[t.media_id for t in titles] if version != "v1" else (),
        )
    finally:
        sink.close()
