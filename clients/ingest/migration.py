"""From one space to the next: the titles of a store as a catalogue, and how many of them have arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from resonance.clients.ingest.catalogue import FaultyRow, folder_of
from resonance.clients.ingest.errors import CatalogueError, EmptyStoreError, MissingPartError
from resonance.clients.ingest.stores import open_store
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.reader import SAMPLINGS

_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Arrival:
    """How far a migration is.

    Attributes:
        wanted: titles of the old store. there: those of them that the new one has.
        missing: some of the others, by media id.
        surplus: titles that the new one has and the old one has not, or no more. for_example: some of them.
        without_transcript: titles that had one and have none now. sampled_otherwise: embedded with a sampling
            that was named, and that is not named now.
    """

    wanted: int
    there: int
    missing: tuple[str, ...]
    surplus: int
    for_example: tuple[str, ...]
    without_transcript: int
    sampled_otherwise: int

    @property
    def complete(self) -> bool:
        """Whether readers can be moved."""
        return self.there == self.wanted and not self.surplus

    def warnings(self, *, pruned: bool) -> list[str]:
        """What a person should know before readers are moved. `pruned`: what left was to be taken out."""
        found = []
        if self.surplus:
            mend = "if they left it, --prune takes them out, as does `resonance remove`"
            if pruned:
                mend = "another job put them there, or the journal is new: `resonance remove` takes them out"
            examples = ", ".join(self.for_example)
            found.append(f"{self.surplus:,} titles are not in the old store, such as {examples}; {mend}")
        if self.without_transcript:
            found.append(
                f"{self.without_transcript:,} titles had a transcript and have none now; if their speech was "
                "recognised, name the model: --asr MODEL"
            )
        if self.sampled_otherwise:
            found.append(
                f"{self.sampled_otherwise:,} titles were embedded with a --sampling that was not named now"
            )
        return found


def titles_of(store_uri: str) -> Iterator[CatalogueItem | FaultyRow]:
    """The titles of a store, to be read again where they were read; at the end a faulty row where a file of
    it went meanwhile, whose titles have not left. Blocks. Errors: see `open_store`.
    """
    columns = ["media_id", "uri", "transcript_uri", "language", "tags", "attributes"]
    try:
        for row in _rows(store_uri, columns):
            yield CatalogueItem(
                **{**row, "tags": tuple(row["tags"] or ()), "attributes": dict(row["attributes"] or ())}
            )
    except MissingPartError as error:
        where = folder_of(store_uri).rstrip("/")
        yield FaultyRow(where, CatalogueError(error.uri, error.came, error.expected))


def arrival(old_uri: str, new_uri: str) -> Arrival:
    """Compare what two stores hold, by name. Blocks; holds the names of the new one. Errors: `open_store`."""
    columns = ["media_id", "present", "content_hash"]
    try:
        there = {row["media_id"]: _made_of(row) for row in _rows(new_uri, columns)}
    except EmptyStoreError:  # nothing could be embedded so far
        there = {}
    wanted = missing = without_transcript = sampled_otherwise = 0
    examples: list[str] = []
    for row in _rows(old_uri, columns):
        wanted += 1
        now = there.pop(row["media_id"], None)
        if now is None:
            missing += 1
            if len(examples) < _EXAMPLES:
                examples.append(row["media_id"])
            continue
        before = _made_of(row)
        without_transcript += before.has_transcript and not now.has_transcript
        sampled_otherwise += before.sampling not in (None, now.sampling)
    return Arrival(
        wanted,
        wanted - missing,
        tuple(examples),
        len(there),
        tuple(islice(there, _EXAMPLES)),
        without_transcript,
        sampled_otherwise,
    )


class _MadeOf(NamedTuple):
    has_transcript: bool
    sampling: str | None


def _made_of(row: Mapping[str, Any]) -> _MadeOf:
    named = set(row["content_hash"].split("+")) & set(SAMPLINGS)
    return _MadeOf(bool(row["present"]["transcript"]), min(named, default=None))


def _rows(store_uri: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    store = open_store(store_uri)
    try:
        for batch in store.titles(columns, all_or_error=True):
            yield from batch.to_pylist()
    finally:
        store.close()
