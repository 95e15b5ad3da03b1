"""What is read from a library to search it: titles with their segments, scored points, filters."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import day_of
from resonance.clients.media.types import Damage
from resonance.clients.results import AxisValue, Segment, SpaceRef, Vector
from resonance.space.descriptor import MODALITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which titles are looked at; the default is all.

    Attributes:
        tags: a title must have all of them.
        languages: a title must be in one of them.
        modalities: what is found, a title or a segment, must really have one of them.
        since, until: its day (`day_of`) must not lie before or after; a title without one is left out.
        excluded: media ids that are left out.
    """

    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown:
            raise UsageError(f"modality '{unknown[0]}'; expected one of {', '.join(MODALITIES)}")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise UsageError(f"since {self.since} lies after until {self.until}; expected it before")

    def takes_present(self, present: tuple[bool, bool, bool]) -> bool:
        """Whether a title or a segment of these modalities, in block order, is looked at."""
        if not self.modalities:
            return True
        return any(here and m in self.modalities for m, here in zip(MODALITIES, present, strict=True))

    def takes(self, title: TitleFacts) -> bool:
        """Whether a title is looked at."""
        if title.media_id in self.excluded or not set(self.tags) <= set(title.tags):
            return False
        if self.languages and title.language not in self.languages:
            return False
        if not self.takes_present(title.present):
            return False
        return self.takes_day(day_of(title.attributes))

    def takes_day(self, day: date | None) -> bool:
        """Whether a title of this day, or of none, is looked at."""
        if self.since is None and self.until is None:
            return True
        if day is None:
            return False
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleFacts:
    """What a catalogue says of a title, and what of it is there; `damage` tells what could not be read."""

    media_id: str
    uri: str
    transcript_uri: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    duration_s: float | None = None
    present: tuple[bool, bool, bool]
    axes: Mapping[str, AxisValue] = field(default_factory=dict)
    damage: Damage = field(default_factory=Damage)


@dataclass(frozen=True, slots=True, eq=False)
class FoundTitle:
    """A title by its vector, float32 [1788]."""

    facts: TitleFacts
    vector: Vector


@dataclass(frozen=True, slots=True)
class FoundSegment:
    """A segment by its vector, and which title it is of."""

    media_id: str
    segment: Segment


@dataclass(frozen=True, slots=True, eq=False)
class StoredTitle:
    """A title with all that is stored of it.

    Attributes:
        vector: float32 [1788]. segments: in order.
        arcs: (time_s, value in 0..1) points by name, measured ones and axes.
    """

    facts: TitleFacts
    vector: Vector
    segments: tuple[Segment, ...]
    arcs: Mapping[str, list[tuple[float, float]]]


class Library(Protocol):
    """A store opened to be searched (`resonance.clients.discovery.libraries.open_library`). Blocks.

    Vectors that it gives are finite: a title with another one is a StoreError that names it.

    Attributes:
        uri: as it was given. space: that of every vector in it.
    """

    uri: str
    space: SpaceRef

    def count(self) -> int:
        """Titles."""
        ...

    def revision(self) -> Hashable:
        """Another value once titles came or went; see `resonance.clients.ingest.types.Store.revision`."""
        ...

    def nearest_titles(self, vector: Vector, limit: int, only: Filter) -> list[FoundTitle]:
        """The titles of the largest dot products with `vector` [1788], best first.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def nearest_segments(self, vector: Vector, limit: int, only: Filter) -> list[FoundSegment]:
        """The segments of the largest dot products with `vector` [1788], best first. Errors: the same."""
        ...

    def titles(self, media_ids: Collection[str]) -> dict[str, StoredTitle]:
        """Titles by name, whole; what is not there is not in it. Errors: the same."""
        ...

    def vectors(self, media_ids: Collection[str]) -> dict[str, Vector]:
        """The vectors [1788] of titles by name; what is not there is not in it. Errors: the same."""
        ...

    def best_segments(self, vector: Vector, media_ids: Collection[str]) -> dict[str, FoundSegment]:
        """The segment of each of some titles with the largest dot product; of a title without any, nothing.

        Errors: the same.
        """
        ...

    def facts(self, media_ids: Collection[str] | None = None) -> Iterator[TitleFacts]:
        """What is known of some titles, or of all, without vectors. Errors: the same."""
        ...

    def arcs(
        self, media_ids: Collection[str] | None = None
    ) -> Iterator[tuple[str, Mapping[str, list[tuple[float, float]]]]]:
        """The arcs of some titles, or of all, by media id; without vectors. Errors: the same."""
        ...

    def close(self) -> None:
        """Free files and connections."""
        ...
