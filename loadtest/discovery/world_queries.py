"""Queries over held-out titles of the procedural world: what is searched with, and what should be found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from resonance.export.families import tiny
from resonance.export.graphs.fusion import FusionGraph
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Query, Weights, query_from_blocks
from resonance.training.recipes import RECIPES
from resonance.training.tiny import load_modules, title_blocks, views_of
from resonance.training.titles import TitleBlocks
from resonance.training.world import oracle
from resonance.training.world.evaluate import clip_rivals, clip_rows
from resonance.training.world.measure import fuse_titles
from resonance.training.world.pool import Pool, load_or_render

Floats = NDArray[np.float32]
#: As docs/tiny.md has them: of what an oracle of the true factors would reach.
BAR_AT_1, BAR_AT_10 = 0.8, 0.95
#: Weights with which a query meets only blocks of modalities that it does not have.
OTHERS_ONLY = {
    "text": Weights(transcript=0),
    "sound": Weights(audio=0),
    "image": Weights(visual=0),
    "image + sound": Weights(visual=0, audio=0),
    "article": Weights(transcript=0),
}


@dataclass(frozen=True, slots=True)
class Searches:
    """Queries of one kind, the i-th for the i-th row of a library.

    oracle: recall by k that the best reader of what the query shows would reach, where it is known.
    """

    kind: str
    queries: list[Query]
    weights: Weights
    oracle: dict[int, float]


@dataclass(frozen=True, slots=True)
class World:
    """Blocks of titles and of one clip of each, unit.

    titles: TITLE of each, float32 [N, 1788]. clips: float32 [N, 3, 596].
    """

    titles: Floats
    clips: Floats
    title_searches: list[Searches]
    clip_searches: list[Searches]


def load_world(folder: Path, descriptor: Descriptor, recipe: str = "cpu") -> World:
    """Render the held-out titles, where `folder` has them not yet, and embed them."""
    pool = load_or_render(folder, RECIPES[recipe].evaluation, workers=torch.get_num_threads())
    modules, device = load_modules(tiny.WEIGHTS), torch.device("cpu")
    views = views_of(pool, modules, device)
    titles = title_blocks(views)  # (N, S, 3, 596)
    rows = clip_rows(pool)
    clips = titles.blocks.flatten(0, 1)[rows]  # (N, 3, 596)
    with torch.inference_mode():
        stills = torch.cat([views.pictures(c, frames=1) for c in np.array_split(rows, 16)])
    fusion = cast(FusionGraph, modules["title_fusion"])
    articles = _articles(fusion, titles)
    given = {
        "text": {"transcript": clips[:, 2]},
        "sound": {"audio": clips[:, 1]},
        "image": {"visual": stills},
        "image + sound": {"visual": stills, "audio": clips[:, 1]},
    }
    known = _oracles(pool, rows)

    def searches(kinds: dict[str, dict[str, torch.Tensor]], others_only: bool) -> list[Searches]:
        return [
            Searches(
                kind,
                _queries(blocks, descriptor),
                OTHERS_ONLY[kind] if others_only else Weights(),
                known.get(kind, {}) if others_only else {},
            )
            for kind, blocks in kinds.items()
        ]

    whole = {**given, "article": {"transcript": articles}}
    return World(
        titles=fuse_titles(fusion, titles).numpy(),
        clips=clips.numpy(),
        title_searches=searches(whole, others_only=False),
        clip_searches=searches(given, others_only=True),
    )


def _queries(blocks: dict[str, torch.Tensor], descriptor: Descriptor) -> list[Query]:
    count = len(next(iter(blocks.values())))
    rows = {name: block.double().numpy() for name, block in blocks.items()}
    return [query_from_blocks({name: b[i] for name, b in rows.items()}, descriptor) for i in range(count)]


def _articles(fusion: FusionGraph, titles: TitleBlocks) -> torch.Tensor:
    """A long text about each title: the words of every second segment fused, block [N, 596]."""
    words, _ = titles.halves()
    only_text = torch.tensor([False, False, True])
    return fuse_titles(fusion, words.showing(only_text)).unflatten(1, (3, -1))[:, 2]


def _oracles(pool: Pool, rows: np.ndarray) -> dict[str, dict[int, float]]:
    """By kind and k, among the clips; an oracle takes none of the simulated titles for them."""
    rivals = clip_rivals(pool, rows)
    # a picture adds to a sound nothing that the sound does not show
    alike = {**rivals, "sound": rivals["audio"], "image + sound": rivals["audio"]}
    return {kind: {k: oracle.expected_recall(of, k) for k in (1, 10)} for kind, of in alike.items()}
