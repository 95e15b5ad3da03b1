"""What the experiment is made of, read from stores, logs and files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.stored_names import as_stored, stored_names
from resonance.clients.audit.tag_table import TagTable
from resonance.clients.audit.tags import TitleTags, read_tags
from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.audit.viewings import read_viewings
from resonance.clients.ingest.stores import open_store
from resonance.clients.results import SpaceRef
from resonance.training.coldstart.candidates import Unnamed, unnamed_titles
from resonance.training.coldstart.features import (
    TAGS,
    StoredTitles,
    other_vectors,
    read_titles,
    stored_contestants,
    tag_features,
)
from resonance.training.coldstart.logs import join_logs, only_titles, read_names


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is read before anything is tried.

    Attributes:
        space: of the store. titles: those of the log and some that it never names, `unnamed`.
        viewings: of the titles that the store has, and where it was cut already, which of them are the test,
            bool [V].
        held_out: media ids that are said to be new. logged: how many titles the log names.
        given_tags: of a file; None: the store's count. tags: those that titles share, if any.
        contestants: what they know of each title, float32 [N, W].
    """

    space: SpaceRef
    titles: StoredTitles
    unnamed: Unnamed
    viewings: ViewingLog
    tested: NDArray[np.bool_] | None
    held_out: tuple[str, ...]
    logged: int
    given_tags: TitleTags | None
    tags: TagTable | None
    contestants: dict[str, NDArray[np.float32]]

    @property
    def absent(self) -> int:
        """Titles that were asked for and that the store lacks."""
        return self.logged + len(self.unnamed.media_ids) - len(self.titles.media_ids)


def read_inputs(
    store: str,
    log: str,
    *,
    test: str | None,
    held_out: str | None,
    tags: str | None,
    beside: Sequence[tuple[str, str]],
    unnamed: int,
    seed: int,
) -> Inputs:
    """Blocks.

    Args:
        test: a log of what came later, where it was cut already. held_out: a file of media ids.
        tags: a file of them. beside: names and URIs of other stores of the same titles.
        unnamed: titles at most that the log never names.

    Raises:
        ResonanceError: something cannot be read.
    """
    whole, tested = read_viewings(log), None
    if test is not None:
        whole, tested = join_logs(whole, read_viewings(test))
    new = read_names(held_out) if held_out is not None else ()
    with closing(open_store(store)) as opened:
        names = stored_names(opened, {*whole.media_ids, *new})
        whole = as_stored(whole, names)
        new = tuple(names.get(name, name) for name in new)
        end_s = float(whole.at_s[-1]) if len(whole) else 0.0
        more = unnamed_titles(opened, whole.media_ids, end_s=end_s, most=unnamed, wanted=new, seed=seed)
        titles = read_titles(opened, whole.media_ids, more.media_ids)
    viewings, rows = only_titles(whole, titles.media_ids)
    given = read_tags(tags, titles.media_ids) if tags is not None else None
    shared = tag_features(
        titles.tags if given is None else [given.by_title.get(name, ()) for name in titles.media_ids]
    )
    contestants = stored_contestants(titles)
    if shared is not None:
        contestants[TAGS] = shared.columns.astype("float32")
    for name, uri in beside:
        with closing(open_store(uri)) as other:
            contestants[name] = other_vectors(name, other, titles.media_ids, contestants)
    return Inputs(
        space=opened.space,
        titles=titles,
        unnamed=more,
        viewings=viewings,
        tested=None if tested is None else tested[rows],
        held_out=new,
        logged=len(whole.media_ids),
        given_tags=given,
        tags=shared,
        contestants=contestants,
    )
