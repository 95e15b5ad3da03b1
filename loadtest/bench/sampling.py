"""The price of the speed: vectors of `keyframes` against those of `uniform` on real media."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding
from resonance.loadtest.bench.real_media import originals

NEIGHBOURS = 5
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SamplingAgreement:
    """Titles (or segments) embedded both ways.

    Attributes:
        what: which vectors; count: how many.
        cosine_median, cosine_p10, cosine_min: of a vector of `keyframes` with its own of `uniform`.
        finds_itself: share of `uniform` vectors whose nearest among all of `keyframes` is their own.
        same_nearest: share with the same nearest other one both ways.
        same_neighbours: mean share of the NEIGHBOURS nearest others that are the same both ways.
        between_others: median cosine of two different ones, `uniform`: what the cosines are to be read
            against.
        least: the one with the lowest cosine.
    """

    what: str
    count: int
    cosine_median: float
    cosine_p10: float
    cosine_min: float
    finds_itself: float
    same_nearest: float
    same_neighbours: float
    between_others: float
    least: str


def measure_sampling(server: str, media: Path) -> list[SamplingAgreement]:
    """Every clip of `media`/video once: fused titles, their visual blocks, and segments."""
    files = originals(media)
    keyframes, uniform = (asyncio.run(_embed(server, files, s)) for s in ("keyframes", "uniform"))
    names = [path.name for path in files]
    first, second = _titles(keyframes), _titles(uniform)
    rows = [agreement("titles, all three blocks", names, first, second)]
    seen = [i for i, title in enumerate(uniform) if title.present[0] and keyframes[i].present[0]]
    blocks = [np.stack([_unit(v[i, :596]) for i in seen]) for v in (first, second)]
    rows.append(agreement("titles, visual block", [names[i] for i in seen], *blocks))
    labels, ours, theirs = [], [], []
    for name, a, b in zip(names, keyframes, uniform, strict=True):
        for one, other in zip(a.segments, b.segments, strict=True):
            labels.append(f"{name}#{one.index}")
            ours.append(one.vector)
            theirs.append(other.vector)
    rows.append(agreement("segments, all three blocks", labels, np.stack(ours), np.stack(theirs)))
    return rows


async def _embed(server: str, files: list[Path], sampling: str) -> list[MediaEmbedding]:
    async with Embedder(server) as embedder:
        return [await embedder.embed(path, sampling=sampling) for path in track(files, description=sampling)]


def _titles(embedded: list[MediaEmbedding]) -> Vectors:
    return np.stack([one.title for one in embedded])


def _unit(vector: Vectors) -> Vectors:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def agreement(what: str, names: list[str], keyframes: Vectors, uniform: Vectors) -> SamplingAgreement:
    """Of unit vectors [N, D] in the same order, N at least 2.

    Raises:
        ValueError: fewer than two, or not the same number both ways.
    """
    if len(keyframes) != len(uniform) or len(names) != len(uniform) or len(uniform) < 2:
        raise ValueError(
            f"{what}: {len(keyframes)} and {len(uniform)} vectors; expected two or more, as many"
        )
    own = (keyframes * uniform).sum(1)
    itself = (uniform @ keyframes.T).argmax(1) == np.arange(len(uniform))
    near, also = (_neighbours(v) for v in (keyframes, uniform))
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(near, also, strict=True)]
    others = (uniform @ uniform.T)[~np.eye(len(uniform), dtype=bool)]
    return SamplingAgreement(
        what=what,
        count=len(uniform),
        cosine_median=float(np.median(own)),
        cosine_p10=float(np.quantile(own, 0.1)),
        cosine_min=float(own.min()),
        finds_itself=float(itself.mean()),
        same_nearest=float((near[:, 0] == also[:, 0]).mean()),
        same_neighbours=float(np.mean(shared)),
        between_others=float(np.median(others)),
        least=names[int(own.argmin())],
    )


def _neighbours(vectors: Vectors) -> NDArray[np.int64]:
    """The nearest others of each, int64 [N, up to NEIGHBOURS], nearest first."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, : min(NEIGHBOURS, len(vectors) - 1)]
