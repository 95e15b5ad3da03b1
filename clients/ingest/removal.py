"""Titles out of a store by name, and out of the journal, so that both go on saying the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.ledger import Ledger
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.media.text import can_be_stored


@dataclass(frozen=True, slots=True)
class Removed:
    """`titles`: how many went. `unknown`: names that the store has not. `journal`: whether there was one."""

    titles: int
    unknown: tuple[str, ...]
    journal: bool


def remove_titles(store_uri: str, journal: Path, media_ids: Sequence[str]) -> Removed:
    """Remove titles with their segments. Blocks.

    Args:
        journal: of the job that filled the store; where there is none, the store alone is changed.

    Raises:
        JournalError: a job is using it. StoreError: the store is not there, or cannot be written.
    """
    store = open_store(store_uri)
    try:
        space = store.space
        known = [name for name in media_ids if can_be_stored(name)]  # others no store has
        found = {name for batch in store.find(known, ["media_id"]) for name in batch[0].to_pylist()}
    finally:
        store.close()
    try:
        has_journal = journal.is_file()
    except OSError as error:
        expected = "a journal, or a path where none is"
        raise StoreError(str(journal), error.strerror or str(error), expected) from error
    # what has failed or was never finished is known to the journal alone
    ledger = Ledger(journal, store_uri, space, open_sink, to_remove=True) if has_journal else None
    sink = open_sink(store_uri, space) if ledger is None else ledger
    try:
        sink.remove(list(dict.fromkeys(known)))
    finally:
        sink.close()
    return Removed(len(found), tuple(m for m in dict.fromkeys(media_ids) if m not in found), has_journal)
