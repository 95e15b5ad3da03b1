"""What travels through an ingestion: an item of a catalogue in, a row of an Arrow table out."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import pyarrow as pa

from resonance.clients.results import SpaceRef

#: The attribute of a catalogue that filters by date look at: a day, a month or a year as ISO 8601 has them.
DATE_ATTRIBUTE = "date"
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d{2})?", re.ASCII)


def day_of(attributes: Mapping[str, str]) -> date | None:
    """The day that a title's `DATE_ATTRIBUTE` names, as it is written: no time of day or zone moves it.

    A year, or a month of one (ISO 8601: ``2026``, ``2026-03``), counts as its first day.
    """
    written = attributes.get(DATE_ATTRIBUTE, "").strip()
    if _YEAR_OR_MONTH.fullmatch(written):
        written = f"{written}-01-01"[:10]
    try:
        return date.fromisoformat(written[:10])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueItem:
    """One title to embed, as its catalogue names it.

    Attributes:
        media_id: its name in journal and sinks; unique in the catalogue.
        uri: where the media is: a path, or a URI that fsspec opens (``s3://bucket/film.mp4``).
        transcript_uri: subtitles that belong to it; None: those beside it or inside it are found.
        attributes: whatever else the catalogue says of it, as text.
    """

    media_id: str
    uri: str
    transcript_uri: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Where rows go. Opened for one space (`resonance.clients.ingest.stores.open_sink`); blocks.

    Attributes:
        uri: as it was given.
    """

    uri: str

    def write(self, rows: pa.Table, *, batch: str, replaces: Collection[str] = ()) -> None:
        """Store `rows` (`resonance.clients.ingest.rows.title_schema`), each title wholly or not at all.

        The same batch written again, after a kill at any point of the first time, leaves each title once.

        Args:
            batch: a name that no other batch has: letters, digits, ``-``.
            replaces: media ids among `rows` of which an earlier version may be stored.

        Raises:
            SpaceMismatchError: rows of another space. StoreError: it could not be written.
        """
        ...

    def remove(self, media_ids: Collection[str]) -> None:
        """Take titles out, each wholly; one that is not there is no error.

        Raises:
            StoreError: it could not be written; the same call again goes on.
        """
        ...

    def groups(self, media_ids: Sequence[str]) -> Iterator[list[str]]:
        """The titles in groups, each of which `relabel` is best given at once."""
        ...

    def relabel(self, items: Mapping[str, CatalogueItem]) -> None:
        """Have titles say what `items`, by media id, do; one that is not there is no error. Each title says
        either at any moment, and nothing else of it changes.

        Raises:
            StoreError: it could not be read or written; the same call again goes on.
        """
        ...

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Titles that were written, by name; see `Store.find`. Nothing may be written while it goes on."""
        ...

    def lacking(self, titles: Iterable[tuple[str, str | None]]) -> Iterator[str]:
        """Those of the titles that are not there in their version. Nothing may be written while it goes on.

        Args:
            titles: media id and `content_hash`; None: in any version.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def is_empty(self) -> bool:
        """Whether it has no title at all.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Free files and connections."""
        ...


@dataclass(frozen=True, slots=True)
class StorageFault:
    """Something wrong with a store: what kind, and which file or title."""

    kind: str
    where: str


class Store(Protocol):
    """What a sink wrote, read back. Blocks.

    Attributes:
        uri: as it was given. space: that of every vector in it.
    """

    uri: str
    space: SpaceRef

    def count(self) -> int:
        """Titles."""
        ...

    def titles(
        self, columns: Collection[str] | None = None, *, all_or_error: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """All titles, `columns` of `resonance.clients.ingest.rows.title_schema` or all of them, in batches.

        Args:
            all_or_error: for whoever takes what does not come for gone; others pass over a file that goes
                while it is read.

        Raises:
            StoreError: it cannot be read. MissingPartError: at the end, where `all_or_error` says so.
        """
        ...

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Titles by name; what is not there is left out. Columns and errors: see `titles`."""
        ...

    def revision(self) -> Hashable:
        """Another value once titles came or went; cheap. One that took another's place may leave it.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def faults(self) -> Iterator[StorageFault]:
        """What is wrong that the titles themselves do not show; of one that is opened leniently.

        Readers see none of it: files that cannot be read, vectors of another space, segments that a
        broken-off write left.
        """
        ...

    def close(self) -> None:
        """Free files and connections."""
        ...
