"""What the space is worth on real files: held-out titles of the procedural world, encoded, read and served
like any upload."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding
from resonance.training.evaluate import clip_scores
from resonance.training.world import oracle
from resonance.training.world.factors import TitleFactors, draw_title
from resonance.training.world.film import write_film
from resonance.training.world.measure import recall
from resonance.training.world.pool import encode_factors

TITLES = 120
SEGMENTS = 5
SEED = 9


@dataclass(frozen=True, slots=True)
class FilmRecall:
    """A query of one modality of one window against the other modalities' blocks of all."""

    query: str
    recall_at_1: float
    recall_at_10: float
    oracle_at_1: float
    clips: int
    chance: float


def measure_world_films(server: str, folder: Path, *, titles: int = TITLES) -> list[FilmRecall]:
    """Write `titles` films under `folder` (once), embed them, and search one window of each."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    drawn = [draw_title(rng, held_out=True) for _ in range(titles)]
    picked = rng.integers(SEGMENTS, size=titles)
    paths = [
        _film(title, folder / f"{i:03}.mkv", seed=i)
        for i, title in enumerate(track(drawn, description="writing films"))
    ]
    embedded = asyncio.run(_embed(server, paths))
    vectors = np.stack([m.segments[i].vector for m, i in zip(embedded, picked, strict=True)])  # (N, 1788)
    blocks = vectors.reshape(titles, 3, -1) * np.float32(3**0.5)  # (N, 3, 596), all present in these films
    factors = np.stack(
        [encode_factors(title.at(int(i) / (SEGMENTS - 1))) for title, i in zip(drawn, picked, strict=True)]
    )
    unseen = oracle.rivals(factors, oracle.SHOWN_BY_ALL)
    heard = oracle.rivals(factors, oracle.SHOWN_BY_ALL, np.True_)  # as if every melody were written
    scores = clip_scores(torch.from_numpy(blocks))
    own = np.arange(titles)
    return [
        FilmRecall(
            query,
            recall(found, own, 1),
            recall(found, own, 10),
            oracle.expected_recall(unseen if query == "image" else heard, 1),
            titles,
            1 / titles,
        )
        for query, found in scores.items()
    ]


def _film(title: TitleFactors, path: Path, *, seed: int) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.stem}.part.mkv")
        write_film(title, part, segments=SEGMENTS, seed=seed)
        part.with_suffix(".srt").rename(path.with_suffix(".srt"))
        part.rename(path)
    return path


async def _embed(server: str, paths: list[Path]) -> list[MediaEmbedding]:
    async with Embedder(server) as embedder:
        return [await embedder.embed(path) for path in paths]
