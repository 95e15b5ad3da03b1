"""A vector is a function of its input alone: the same bits alone and in a crowd."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding


def same(a: MediaEmbedding, b: MediaEmbedding) -> bool:
    return np.array_equal(a.title, b.title) and all(
        np.array_equal(x.vector, y.vector) and x.signals == y.signals
        for x, y in zip(a.segments, b.segments, strict=True)
    )


async def test_a_crowd_changes_no_bit(embedder: Embedder, media: Path) -> None:
    """Without `max_requests_per_run` in the configs, a quarter of the titles differs in the last bits."""
    films = [*sorted((media / "video").glob("*.mp4"))[:4], *sorted((media / "audio").glob("*.*"))[:4]]
    alone = [await embedder.embed(film) for film in films]
    for _ in range(3):
        crowd = await asyncio.gather(*(embedder.embed(film) for film in films * 2))
        assert all(same(a, b) for a, b in zip(alone * 2, crowd, strict=True))
