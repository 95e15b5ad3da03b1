"""From one space to the next: the titles of a store as a catalogue, and how many of them have arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resonance.clients.ingest.stores import open_store
from resonance.clients.ingest.types import CatalogueItem

_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Arrival:
    """How far a migration is.

    Attributes:
        wanted: titles of the old store. there: those of them that the new one has.
        missing: some of the others, by media id.
    """

    wanted: int
    there: int
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether readers can be moved."""
        return self.there == self.wanted


def titles_of(store_uri: str) -> Iterator[CatalogueItem]:
    """The titles of a store, to be read again where they were read. Blocks. Errors: see `open_store`."""
    store = open_store(store_uri)
    columns = ["media_id", "uri", "transcript_uri", "language", "tags", "attributes"]
    try:
        for batch in store.titles(columns):
            for row in batch.to_pylist():
                yield CatalogueItem(
                    **{**row, "tags": tuple(row["tags"] or ()), "attributes": dict(row["attributes"] or ())}
                )
    finally:
        store.close()


def arrival(old_uri: str, new_uri: str) -> Arrival:
    """Compare what two stores hold, by name. Blocks; holds the names of the new one. Errors: `open_store`."""
    new = open_store(new_uri)
    try:
        there = {name for batch in new.titles(["media_id"]) for name in batch["media_id"].to_pylist()}
    finally:
        new.close()
    wanted, missing = 0, 0
    examples: list[str] = []
    for item in titles_of(old_uri):
        wanted += 1
        if item.media_id not in there:
            missing += 1
            if len(examples) < _EXAMPLES:
                examples.append(item.media_id)
    return Arrival(wanted, wanted - missing, tuple(examples))
