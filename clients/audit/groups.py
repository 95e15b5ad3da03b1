"""Who is in which group: sources of groups, and a library's titles read by them, without their vectors."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.clients.delimited import IN_QUOTES, TOO_MANY, separator_hint
from resonance.clients.discovery.browsing import spelling_in
from resonance.clients.discovery.types import TitleFacts
from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import DATE_ATTRIBUTE, day_of
from resonance.clients.paths import is_file

Codes = NDArray[np.int32]

#: A title of which a source does not tell the group. It counts nowhere.
UNKNOWN = -1
_EXPECTED = "language, tag:NAME, attribute:NAME, or a file media_id,group"


@dataclass(frozen=True, slots=True)
class GroupSource:
    """Where the group of a title stands.

    Attributes:
        name: how reports call it. kind: language, tag, attribute, month, file or order.
        key: the tag or the attribute. listed: the group of each media id, of a file.
    """

    name: str
    kind: str
    key: str = ""
    listed: Mapping[str, str] | None = None

    @property
    def column(self) -> str:
        """The column of a store that tells it."""
        return {"language": "language", "tag": "tags", "file": "media_id", "order": "media_id"}.get(
            self.kind, "attributes"
        )

    def group_of(self, media_id: str, value: Any) -> str | None:
        """Of a title with `value` in the column; None: not known, and "" where it is in no group."""
        if self.kind == "language":
            return value or None
        if self.kind == "tag":
            return self.key if self.key in (value or ()) else ""
        if self.kind == "file":
            listed = self.listed or {}
            name = spelling_in(listed, media_id)
            return None if name is None else listed[name]
        told = dict(value or ()).get(self.key)
        return month_of(told) if self.kind == "month" else told or None

    def group_of_facts(self, facts: TitleFacts) -> str | None:
        """The same of a title that was found."""
        columns = {"language": facts.language, "tags": facts.tags, "attributes": facts.attributes}
        return self.group_of(facts.media_id, columns.get(self.column))


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """Titles by group.

    Attributes:
        groups: those that are looked at.
        codes: int32 [N], an index of `groups`; `len(groups)`: known, but of none of them; `UNKNOWN`.
        rare: groups that were left out for having too few titles; theirs are of none.
    """

    name: str
    groups: tuple[str, ...]
    codes: Codes
    rare: tuple[str, ...] = ()

    def counts(self) -> NDArray[np.int64]:
        """Titles by group, int64 [G + 1]; the last are those of no group."""
        return np.bincount(self.codes[self.codes != UNKNOWN], minlength=len(self.groups) + 1)


def make_source(text: str) -> GroupSource:
    """Of ``--group``: `language`, `tag:NAME`, `attribute:NAME`, or a file media_id,group.

    Raises:
        UsageError: it is none of these, or the file cannot be read.
    """
    kind, colon, key = text.partition(":")
    if text == "language":
        return GroupSource("language", "language")
    if kind in ("tag", "attribute") and colon and key:
        return GroupSource(text, kind, key)
    path = Path(text)
    if not is_file(path):
        raise UsageError(f"group '{text}' is no file and no source; expected {_EXPECTED}")
    return GroupSource(path.stem, "file", listed=dict(read_pairs(path, ("media_id", "group"))))


def check_sources(sources: Sequence[GroupSource]) -> None:
    """Refuse sources that reports could not tell apart.

    Raises:
        UsageError: two are called the same.
    """
    called = Counter(source.name for source in sources)
    for name, times in called.items():
        if times > 1:
            raise UsageError(
                f"{times} groupings are called '{name}'; expected names that differ: rename a file"
            )


def read_pairs(path: Path, columns: tuple[str, str]) -> list[tuple[str, str]]:
    """Two columns of a CSV file with a heading; others are left alone, and a first value stands once.

    Raises:
        UsageError: it cannot be read, lacks a column or a value, names something twice, or has a row of more
            fields than columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                expected = ",".join(columns) + separator_hint(reader.fieldnames or ())
                raise UsageError(f"{path}: no column {', '.join(missing)}; expected {expected}")
            found: dict[str, str] = {}
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row:  # where the reader puts what is beyond the columns
                    raise UsageError(f"{where}: {TOO_MANY}; expected {IN_QUOTES}")
                first, second = ((row[name] or "").strip() for name in columns)
                if not first or not second or first in found:
                    came = f"'{first}' a second time" if first in found else "an empty field"
                    raise UsageError(f"{where}: {came}; expected {','.join(columns)}, each once")
                found[first] = second
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({error}); expected CSV in UTF-8") from error
    return list(found.items())


def read_target(path: Path) -> dict[str, float]:
    """Shares that are wanted, by group, of a file group,share.

    Raises:
        UsageError: it cannot be read, a share lies outside 0 to 1, or all of them are more than 1.
    """
    shares: dict[str, float] = {}
    for group, text in read_pairs(path, ("group", "share")):
        try:
            shares[group] = float(text)
        except ValueError:
            shares[group] = -1.0
        if not 0 < shares[group] < 1:
            raise UsageError(f"{path}: share '{text}' of {group}; expected a number between 0 and 1")
    if sum(shares.values()) > 1 + 1e-6:
        raise UsageError(f"{path}: shares sum to {sum(shares.values()):.4g}; expected at most 1")
    return shares


def month_of(text: str | None) -> str | None:
    """`2026-11` of a day or a month as ISO 8601 has them; None of anything else: a year alone tells none."""
    written = (text or "").strip()
    day = None if len(written) == len("2026") else day_of({DATE_ATTRIBUTE: written})
    return None if day is None else f"{day:%Y-%m}"


def month_source() -> GroupSource:
    """The month of the attribute `date`."""
    return GroupSource("month", "month", DATE_ATTRIBUTE)


class DimensionBuilder:
    """Gathers the groups of titles as they are read, 4 bytes a title."""

    def __init__(self, source: GroupSource) -> None:
        self.source = source
        self._numbers: dict[str, int] = {}
        self._parts: list[Codes] = []

    def add(self, media_ids: Sequence[str], values: Sequence[Any]) -> None:
        """A batch: names, and what stands in the source's column."""
        numbers, group_of = self._numbers, self.source.group_of
        codes = np.empty(len(media_ids), np.int32)
        for at, (name, value) in enumerate(zip(media_ids, values, strict=True)):
            group = group_of(name, value)
            codes[at] = UNKNOWN if group is None else numbers.setdefault(group, len(numbers))
        self._parts.append(codes)

    def known(self) -> frozenset[str]:
        """Groups that have come."""
        return frozenset(self._numbers)

    def build(self, *, least_titles: int, kept: Collection[str] = ()) -> Dimension:
        """Groups in order of their names.

        Args:
            least_titles: a group of fewer is left out. kept: groups that are not, though none may be there.
        """
        codes = np.concatenate(self._parts) if self._parts else np.empty(0, np.int32)
        counts = Counter(dict(zip(*(a.tolist() for a in np.unique(codes, return_counts=True)), strict=True)))
        there = {name: counts[number] for name, number in self._numbers.items() if name}
        groups = sorted({name for name, count in there.items() if count >= least_titles} | set(kept))
        places = {name: at for at, name in enumerate(groups)}
        # the number that a group got as it came -> its place; the last entry serves UNKNOWN, -1
        table = np.array([*(places.get(name, len(groups)) for name in self._numbers), UNKNOWN], np.int32)
        rare = tuple(sorted(set(there) - set(groups)))
        return Dimension(self.source.name, tuple(groups), table[codes], rare)


def in_order(titles: int, parts: int) -> Dimension:
    """Titles by where they stand in the store, in `parts` runs of about the same length."""
    codes = (np.arange(titles, dtype=np.int64) * parts // max(titles, 1)).astype(np.int32)
    return Dimension("order", tuple(f"part {at + 1:02}" for at in range(parts)), codes)


def crossed(places: Dimension, groups: Dimension) -> NDArray[np.int64]:
    """Titles by place and group, int64 [P, G + 1]; those whose group is not known are left out."""
    width = len(groups.groups) + 1
    both = (groups.codes != UNKNOWN) & (places.codes != UNKNOWN) & (places.codes < len(places.groups))
    cells = places.codes[both].astype(np.int64) * width + groups.codes[both]
    counts = np.bincount(cells, minlength=len(places.groups) * width)
    return counts.reshape(len(places.groups), width)  # (P, G + 1)
