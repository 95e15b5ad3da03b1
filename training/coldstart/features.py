"""What contestants know of a title: whole vectors of a store, single blocks, tags of the SAME titles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit import logged_titles
from resonance.clients.audit.tag_table import TagTable, tag_table
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.types import Store
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH

FUSED, TAGS = "fused", "tags"
#: How single blocks are called.
BLOCK_NAMES = ("visual", "audio", "text")
#: A tag counts where so many titles carry it, and as many do not: one of a single title says nothing.
LEAST_CARRIERS = 2


@dataclass(frozen=True, slots=True)
class StoredTitles:
    """Titles as a store has them.

    Attributes:
        vectors: float32 [N, 1788]. present: bool [N, 3]. tags: as they are stored.
    """

    media_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]
    tags: tuple[tuple[str, ...], ...]


def read_titles(store: Store, media_ids: Sequence[str], more: Sequence[str] = ()) -> StoredTitles:
    """Those of some titles that the store has, in the order they are given in; 7 KB each. Blocks.

    Args:
        media_ids: of the log. more: that it never names, behind them.

    Raises:
        StoreError: it cannot be read, or a vector holds what is no number.
    """
    every = (*media_ids, *more)
    titles = logged_titles.read_titles(store, every, (), {})
    there = np.flatnonzero(titles.known)
    if not titles.known[: len(media_ids)].any():
        raise StoreError(
            store.uri,
            f"none of the {len(media_ids)} titles of the log, such as {media_ids[0]}",
            "the log's titles named by the media ids of the store",
        )
    found, vectors = tuple(every[at] for at in there), titles.vectors[there]
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise StoreError(
            f"{store.uri} title {found[wrong[0]]}",
            "a vector that is not finite",
            "numbers; `resonance validate` tells of all such",
        )
    return StoredTitles(found, vectors, titles.present[there], tuple(titles.tags[at] for at in there))


def stored_contestants(titles: StoredTitles) -> dict[str, NDArray[np.float32]]:
    """Fused vectors [N, 1788] and single blocks [N, 596].

    A single block of a title that lacks its modality is 0: the stored one was inferred from the others.
    """
    blocks = titles.vectors.reshape(-1, len(MODALITIES), BLOCK_WIDTH)  # (N, 3, 596)
    shown = np.where(titles.present[..., None], blocks, np.float32(0))
    singles = {name: shown[:, at] for at, name in enumerate(BLOCK_NAMES) if titles.present[:, at].any()}
    return {FUSED: titles.vectors.reshape(-1, TITLE_WIDTH), **singles}


def tag_features(tags: Sequence[tuple[str, ...]]) -> TagTable | None:
    """The tags that several titles share; None: there are none."""
    try:
        return tag_table(tags, LEAST_CARRIERS)
    except UsageError:
        return None


def other_vectors(
    name: str, store: Store, media_ids: Sequence[str], taken: Collection[str]
) -> NDArray[np.float32]:
    """The vectors of another store for the same titles, float32 [N, 1788].

    Raises:
        UsageError: the name is another contestant's, or the store lacks a title.
        StoreError: see `read_titles`.
    """
    if name in taken:
        raise UsageError(f"a contestant is called {name} already; expected another name before the =")
    titles = read_titles(store, media_ids)
    lacking = sorted(set(media_ids) - set(titles.media_ids))
    if lacking:
        raise UsageError(
            f"{name}: its store lacks {len(lacking)} of {len(media_ids)} titles, such as {lacking[0]}; "
            "expected the same titles in both stores"
        )
    return titles.vectors
