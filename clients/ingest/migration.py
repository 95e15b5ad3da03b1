"""From one space to the next: the titles of a store as a catalogue, and how many of them have arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from resonance.clients.ingest.errors import EmptyStoreError
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

    def warnings(self) -> list[str]:
        """What a person should know before readers are moved."""
        found = []
        if self.surplus:
            found.append(
                f"{self.surplus:,} titles are not in the old store, such as {', '.join(self.for_example)}; "
                "if they left it, --prune takes them out, as does `resonance remove`"
            )
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


def titles_of(store_uri: str) -> Iterator[CatalogueItem]:
    """The titles of a store, to be read again where they were read. Blocks. Errors: see `open_store`."""
    columns = ["media_id", "uri", "transcript_uri", "language", "tags", "attributes"]
    for row in _rows(store_uri, columns):
        yield CatalogueItem(
            **{**row, "tags": tuple(row["tags"] or ()), "attributes": dict(row["attributes"] or ())}
        )


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
        for batch in store.titles(columns):
            yield from batch.to_pylist()
    finally:
        store.close()
