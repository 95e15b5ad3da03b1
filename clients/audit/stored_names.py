"""Titles called as a store calls them, however their accents are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from resonance.clients.audit.viewing_log import Numbered, ViewingLog
from resonance.clients.discovery.browsing import all_spellings, spelling_in, spellings
from resonance.clients.ingest.types import Store

#: Ids asked for at once.
_AT_ONCE = 1000


def by_spelling(media_ids: Iterable[str]) -> dict[str, str]:
    """The id of each way to write one; what is an id as it stands is that one."""
    ids = list(media_ids)
    return {form: name for name in ids for form in spellings(name)} | {name: name for name in ids}


def stored_names(store: Store, media_ids: Iterable[str]) -> dict[str, str]:
    """Of ids that a store lacks and has with other accents, how it writes them. Blocks.

    Raises:
        StoreError: it cannot be read.
    """
    several = [name for name in media_ids if len(spellings(name)) > 1]
    asked = list(all_spellings(several))
    there: set[str] = set()
    for first in range(0, len(asked), _AT_ONCE):
        for batch in store.find(asked[first : first + _AT_ONCE], ["media_id"]):
            there.update(batch["media_id"].to_pylist())
    stored = {name: spelling_in(there, name) or name for name in several}
    return {name: other for name, other in stored.items() if other != name}


def as_stored(log: ViewingLog, names: Mapping[str, str]) -> ViewingLog:
    """A log whose titles are called by `stored_names`; one that it wrote in two ways is one title."""
    if not names:
        return log
    numbered = Numbered()
    numbers = numbered.of([names.get(name, name) for name in log.media_ids])
    return replace(log, titles=numbers[log.titles], media_ids=tuple(numbered.found))
