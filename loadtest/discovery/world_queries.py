"""Queries over held-out titles of the procedural world: what is searched with, and what should be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from resonance.export.families import tiny
from resonance.export.graphs.fusion import FusionGraph
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Query, Weights, query_from_blocks
from resonance.training.evaluate import clip_rivals, clip_rows, melody_written
from resonance.training.recipes import RECIPES
from resonance.training.tiny import load_modules, segment_blocks, title_blocks, views_of
from resonance.training.titles import TitleBlocks
from resonance.training.world import oracle
from resonance.training.world.measure import fuse_titles
from resonance.training.world.pool import Pool, load_or_render

Floats = NDArray[np.float32]
#: As docs/tiny.md has them: of what an oracle of the true factors would reach.
BAR_AT_1, BAR_AT_10 = 0.8, 0.95
SEED = 11
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
    """Vectors of titles, and blocks of clips.

    titles: TITLE of each, float32 [N, 1788]. clips: unit blocks, float32 [C, 3, 596]; the first N of them are
    searched for, one of each title.
    """

    titles: Floats
    clips: Floats
    title_searches: list[Searches]
    clip_searches: list[Searches]


def load_world(folder: Path, descriptor: Descriptor, recipe: str, clips_wanted: int) -> World:
    """Render the held-out titles, where `folder` has them not yet, and embed them.

    Args:
        clips_wanted: clips in the library; those beyond the titles' own are of other held-out titles.
    """
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
    settings = replace(pool.settings, titles=clips_wanted - len(rows), segments_per_title=1, seed=SEED)
    crowd = load_or_render(folder.parent / "crowd", settings, workers=torch.get_num_threads())
    others = np.arange(settings.titles)
    known = _oracles([(pool, rows), (crowd, others)])
    crowd_blocks = segment_blocks(views_of(crowd, modules, device))  # (C - N, 3, 596)

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
        clips=torch.cat([clips, crowd_blocks]).numpy(),
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


def _oracles(clips: Sequence[tuple[Pool, np.ndarray]]) -> dict[str, dict[int, float]]:
    """Recall by kind and k of an oracle that seeks each clip of the first pool among those of all.

    Args:
        clips: pools, and which of their rows are in the library.
    """
    factors = np.concatenate([np.asarray(pool["factors"])[rows] for pool, rows in clips])
    written = np.concatenate([melody_written(pool, rows) for pool, rows in clips])
    rivals = clip_rivals(factors, written, queries=len(clips[0][1]))
    # a picture adds to a sound nothing that the sound does not show
    alike = {**rivals, "sound": rivals["audio"], "image + sound": rivals["audio"]}
    return {kind: {k: oracle.expected_recall(of, k) for k in (1, 10)} for kind, of in alike.items()}
