"""Titles that nobody has seen: what do vectors, text and tags know of them?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from resonance.space.descriptor import MODALITIES
from resonance.training.titles import UPLOADS, TitleBlocks
from resonance.training.world.measure import Row, concatenated, fuse_titles, recall
from resonance.training.world.pool import Pool, title_of

SEED = 7
TRANSCRIPT = MODALITIES.index("transcript")


def cold_start(modules: Mapping[str, nn.Module], titles: TitleBlocks, pool: Pool) -> list[Row]:
    """Neighbours of a held-out title that nobody has seen: do they share what it is like?

    NDCG@10 with the share of latent factors two titles have in common as gain (setting, subject, arc,
    spans of tension and pace, steps of the melody), for neighbours by fused vector, by text alone, and by
    tags alone (genre; all titles of a genre tie and are taken in random order). Once with all titles
    complete, once as uploads come: each lacks other modalities, so that text is there for four in seven.
    Beside it, how often one half of a title finds its other half.
    """
    count = len(titles.blocks)
    gain = common_factors(pool, count)
    rng = np.random.Generator(np.random.PCG64(SEED))
    genres = np.array([title_of(pool.settings, i).genre for i in range(count)])
    tags = (genres[:, None] == genres[None]) + rng.uniform(0, 0.5, (count, count))
    masks = torch.tensor(UPLOADS, dtype=torch.bool)
    gaps = masks[torch.from_numpy(rng.integers(len(masks), size=count))].unsqueeze(1)
    chance, best = ndcg(rng.uniform(size=(count, count)), gain), ndcg(gain, gain)
    rows = []
    for kind, given in (("complete", titles), ("with gaps", titles.showing(gaps))):
        fused = fuse_titles(modules["title_fusion"], given)
        plain = concatenated(given)
        words = _words(plain)
        # titles without words tie; they are taken in random order
        by_text = (words @ words.T).numpy() + rng.uniform(0, 1e-6, (count, count))
        baselines = {
            "concatenation": ndcg((plain @ plain.T).numpy(), gain),
            "text only": ndcg(by_text, gain),
            "tags only": ndcg(tags, gain),
        }
        value = ndcg((fused @ fused.T).numpy(), gain)
        rows.append(Row(f"cold start, titles {kind}: neighbours' NDCG@10", value, chance, best, baselines))
        rows.append(_other_half(modules, given, genres, f"cold start, titles {kind}"))
    return rows


def _other_half(
    modules: Mapping[str, nn.Module],
    titles: TitleBlocks,
    genres: np.ndarray,
    kind: str,
) -> Row:
    sides = titles.halves()
    own = np.arange(len(genres))
    even, odd = (fuse_titles(modules["title_fusion"], side) for side in sides)
    first, second = (concatenated(side) for side in sides)
    baselines = {
        "concatenation": recall(first @ second.T, own, 1),
        "text only": recall(_words(first) @ _words(second).T, own, 1),
        "tags only": float(np.mean([1 / (genres == g).sum() for g in genres])),
    }
    return Row(f"{kind}: other half, recall@1", recall(even @ odd.T, own, 1), 1 / len(own), 1.0, baselines)


def _words(plain: torch.Tensor) -> torch.Tensor:
    """What text alone would compare, [N, 596]: made unit again, or a title with words alone would seem to be
    nearest to all; 0 where there is no text."""
    return functional.normalize(plain.unflatten(1, (len(MODALITIES), -1))[:, TRANSCRIPT], dim=1)


def common_factors(pool: Pool, count: int) -> np.ndarray:
    """Share of latent factors that titles have in common, float [count, count], 0 on the diagonal."""
    titles = [title_of(pool.settings, i) for i in range(count)]
    columns = {
        "setting": [t.setting for t in titles],
        "subject": [t.subject for t in titles],
        "arc": [t.arc for t in titles],
        "tension": [t.tension_span for t in titles],
        "pace": [t.pace_span for t in titles],
    }
    share = np.zeros((count, count))
    for values in columns.values():
        v = np.asarray(values).reshape(count, -1)
        share += (v[:, None] == v[None]).all(2)
    tunes = np.asarray([t.melody for t in titles])
    share += (tunes[:, None] == tunes[None]).mean(2)
    np.fill_diagonal(share, 0.0)
    return share / (len(columns) + 1)


def ndcg(scores: np.ndarray, gain: np.ndarray, k: int = 10) -> float:
    """Mean NDCG@k (Järvelin and Kekäläinen 2002) of each row's neighbours, itself left out."""
    scores, gain = scores.astype(float), gain.astype(float)  # copies
    np.fill_diagonal(scores, -np.inf)
    np.fill_diagonal(gain, 0.0)
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = np.take_along_axis(gain, np.argsort(-scores, 1)[:, :k], 1) @ discount
    best = -np.sort(-gain, 1)[:, :k] @ discount
    return float(np.mean(found / np.maximum(best, 1e-12)))
