"""Logs in which what decides is planted: the vectors, the tags, or nothing that either knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.space.blocks import ROOT_BLOCKS
from resonance.space.descriptor import BLOCK_WIDTH
from resonance.training.coldstart.experiment import ColdstartSettings
from resonance.training.coldstart.two_tower import TowerSettings

DAY_S = 86_400.0
GENRES, LATENT = 6, 6
#: Small, so that a test takes seconds.
FAST = ColdstartSettings(tower=TowerSettings(width=16, hidden=32, batch=256, epochs=12))


@dataclass(frozen=True)
class Planted:
    """A log, vectors float32 [N, 1788] whose blocks know two of six traits each, and tags 0 or 1 [N, 6]."""

    log: ViewingLog
    vectors: NDArray[np.float32]
    tags: NDArray[np.float32]

    @property
    def contestants(self) -> dict[str, NDArray[np.float32]]:
        visual, audio, text = np.split(self.vectors, 3, axis=1)
        return {"fused": self.vectors, "visual": visual, "audio": audio, "text": text, "tags": self.tags}


def plant(by: str, *, users: int = 500, titles: int = 300, each: int = 30, seed: int = 0) -> Planted:
    """Taste follows `by`: vectors, tags or nothing; popularity differs, and 40% of the titles come later."""
    rng = np.random.default_rng(seed)
    traits = rng.standard_normal((titles, LATENT))
    blocks = np.empty((titles, 3, BLOCK_WIDTH), np.float32)
    for at in range(3):
        mixing = rng.standard_normal((2, BLOCK_WIDTH))
        blocks[:, at] = traits[:, 2 * at : 2 * at + 2] @ mixing + rng.standard_normal((titles, BLOCK_WIDTH))
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    genre = rng.integers(GENRES, size=titles)
    affinity = {
        "vectors": rng.standard_normal((users, LATENT)) @ traits.T / np.sqrt(LATENT),
        "tags": rng.standard_normal((users, GENRES))[:, genre],
        "nothing": np.zeros((users, titles)),
    }[by]
    released = np.where(rng.random(titles) < 0.4, rng.random(titles), 0)
    liking = 0.7 * rng.standard_normal(titles) + 2 * affinity + rng.gumbel(size=affinity.shape)
    rows = []
    for user, order in enumerate(np.argsort(-liking, axis=1)):
        free = list(order)
        for moment in np.sort(rng.random(each)):
            chosen = next(title for title in free if released[title] <= moment)
            free.remove(chosen)
            rows.append((moment, user, chosen))
    at, who, what = (np.array(column) for column in zip(*sorted(rows), strict=True))
    log = ViewingLog(
        users=who,
        titles=what,
        at_s=1.7e9 + 180 * DAY_S * at,
        completion=np.full(len(at), np.nan, np.float32),
        user_ids=tuple(f"viewer {i}" for i in range(users)),
        media_ids=tuple(f"title {i}" for i in range(titles)),
    )
    vectors = (blocks / np.float32(ROOT_BLOCKS)).reshape(titles, -1)  # (N, 1788)
    return Planted(log, vectors, np.eye(GENRES, dtype=np.float32)[genre])
