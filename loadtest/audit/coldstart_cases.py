"""Catalogues and viewers of which it is known what counts, for the audit of cold start to find out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.coldstart_vectors import TitleVectors, fuse, fuse_text_alone, kept_blocks
from resonance.loadtest.audit.stored import title_rows
from resonance.loadtest.audit.tagged import WAYS, Poorer, draw_tags
from resonance.training.coldstart.features import (
    TAGS,
    StoredTitles,
    read_titles,
    stored_contestants,
    tag_features,
)
from resonance.training.world.factors import GENRES, TitleFactors
from resonance.training.world.viewers import TASTE_FOR_FEEL, TASTE_FOR_TAGS, Taste, draw_viewers
from resonance.training.world.viewers_choosing import Choosing, choose, draw_releases

UNTRAINED, TEXT_ALONE = "untrained", "text alone"
_SPACE = SpaceRef("tiny", "0" * 64, True)


@dataclass(frozen=True, slots=True)
class Case:
    """One experiment: what viewers like, and what titles come with.

    Attributes:
        gaps: whether titles lack modalities, as uploads do.
        expected: whom the verdict should favour: the fused vectors, or tags.
    """

    name: str
    taste: Taste
    gaps: bool
    expected: str


CASES = (
    Case("feel, complete titles", TASTE_FOR_FEEL, False, "fused"),
    Case("feel, titles with gaps", TASTE_FOR_FEEL, True, "fused"),
    Case("tags, complete titles", TASTE_FOR_TAGS, False, TAGS),
)


def genre_tags(titles: Sequence[TitleFactors]) -> list[tuple[str, ...]]:
    """The one tag that titles of the procedural world are filed under."""
    return [(GENRES[title.genre],) for title in titles]


def catalogue_tags(
    titles: Sequence[TitleFactors], poorer: Poorer, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    """Tags that name setting, subject, the middle level of tension and of pace, and genre; made poorer."""
    factors = {
        "setting": np.array([title.setting for title in titles]),
        "subject": np.array([title.subject for title in titles]),
        "tension": np.array([sum(title.tension_span) // 2 for title in titles]),
        "pace": np.array([sum(title.pace_span) // 2 for title in titles]),
        "genre": np.array([title.genre for title in titles]),
    }
    return draw_tags(factors, poorer, rng)


def poorer_tags(titles: Sequence[TitleFactors], *, seed: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    """By ``drop 0`` to ``drop 4`` and so on: three ways of five levels; what one lacks, the next lacks."""
    return {
        f"{way} {at}": catalogue_tags(titles, poorer, np.random.default_rng([seed, 5]))
        for way, levels in WAYS.items()
        for at, poorer in enumerate(levels)
    }


def write_titles(uri: str, titles: TitleVectors, tags: Sequence[Sequence[str]]) -> StoredTitles:
    """A store of the titles, named by number, read again as the audit reads it."""
    names = tuple(str(at) for at in range(len(titles.vectors)))
    sink = open_sink(uri, _SPACE)
    sink.write(title_rows(names, titles.vectors, titles.present, tags, _SPACE), batch="titles")
    sink.close()
    store = open_store(uri)
    found = read_titles(store, names)
    store.close()
    return found


def draw_log(
    titles: Sequence[TitleFactors], taste: Taste, viewers: int, settings: Choosing, *, seed: int
) -> ViewingLog:
    """What viewers of such a taste watched over the weeks."""
    names = tuple(str(at) for at in range(len(titles)))
    drawn = draw_viewers(titles, viewers, taste, seed=seed)
    releases = draw_releases(len(titles), settings, seed=seed)
    return choose(drawn, releases, names, settings, seed=seed)


def case_contestants(
    folder: Path,
    blocks: Mapping[str, NDArray[np.float32]],
    present: NDArray[np.bool_],
    tags: list[tuple[str, ...]],
) -> dict[str, NDArray[np.float32]]:
    """All of them: vectors and blocks of a store of trained `tiny`, text alone, untrained, tags.

    Args:
        blocks: of every segment, [N, S, 3, 596], by ``trained`` and ``untrained``.
    """
    stored = write_titles(str(folder), fuse(blocks["trained"], present, "trained"), tags)
    table = tag_features(stored.tags)
    assert table is not None
    return {
        **stored_contestants(stored),
        TEXT_ALONE: fuse_text_alone(blocks["trained"], present, "trained"),
        UNTRAINED: fuse(blocks[UNTRAINED], present, UNTRAINED).vectors,
        TAGS: table.columns.astype(np.float32),
    }


def all_blocks(folder: Path, pool_folder: Path, titles: int) -> dict[str, NDArray[np.float32]]:
    """Blocks of a catalogue's segments from trained encoders, and from those that training starts with."""
    return {name: kept_blocks(folder, pool_folder, name, titles=titles) for name in ("trained", UNTRAINED)}
