"""Titles made for tests of stores: small, each different, of one space."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import Damage, SampledBy, StreamSignal
from resonance.clients.results import AxisValue, MediaEmbedding, Segment, SpaceRef, Timing

SPACE = SpaceRef("tiny", "a" * 64, True)
WHOLE = Damage()
OTHER_SPACE = SpaceRef("other", "b" * 64, False)


def count_listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed from now on, as they are."""
    listed: list[str] = []
    list_it = os.scandir

    def scandir(path: str) -> object:
        listed.append(path)
        return list_it(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return listed


def unit_vector(chance: np.random.Generator) -> np.ndarray:
    vector = chance.normal(size=1788).astype(np.float32)
    return vector / np.linalg.norm(vector)


def made_item(media_id: str) -> CatalogueItem:
    """What a catalogue says of a title made here."""
    return CatalogueItem(
        media_id=media_id,
        uri=f"/library/{media_id}.mp4",
        language="en",
        tags=("news", "short"),
        attributes={"year": "1999"},
    )


def made_embedding(
    media_id: str,
    version: str = "v1",
    *,
    segments: int = 3,
    space: SpaceRef = SPACE,
    damage: Damage = WHOLE,
) -> MediaEmbedding:
    """What embedding a title might give; the same arguments give the same numbers."""
    chance = np.random.default_rng(int.from_bytes(f"{media_id}/{version}".encode(), "big") % 2**63)
    parts = tuple(
        Segment(
            index=at,
            start_s=8.0 * at,
            end_s=8.0 * at + 8,
            present=(True, at % 2 == 0, False),
            vector=unit_vector(chance),
            signals={
                "motion": StreamSignal(float(chance.random()), "packet sizes", 0.5),
                "brightness": float(chance.random()),
                "words_per_second": None,
            },
            sampled_by=SampledBy.KEYFRAMES,
            frame_times_s=(8.0 * at, 8.0 * at + 2),
            salience=1 / segments,
            axes={"tension": float(chance.random())},
        )
        for at in range(segments)
    )
    return MediaEmbedding(
        media=media_id,
        space=space,
        duration_s=8.0 * segments,
        modalities=("visual", "audio"),
        title=unit_vector(chance),
        present=(True, True, False),
        segments=parts,
        arcs={"pacing": [(4.0, float(chance.random()))]},
        timing=Timing(0, 0, 0, 0, 0),
        axes={"tension": AxisValue(0.25, "calm", "tense")},
        damage=damage,
    )


def made_row(
    media_id: str,
    version: str = "v1",
    *,
    segments: int = 3,
    space: SpaceRef = SPACE,
    damage: Damage = WHOLE,
) -> pa.Table:
    """One title's row. Arguments: see `made_embedding`."""
    result = made_embedding(media_id, version, segments=segments, space=space, damage=damage)
    return title_row(made_item(media_id), version, result)


def made_rows(*names: str, version: str = "v1", space: SpaceRef = SPACE) -> pa.Table:
    return pa.concat_tables([made_row(name, version, space=space) for name in names])
