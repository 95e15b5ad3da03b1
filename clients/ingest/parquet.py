"""Titles as a Parquet data set: a folder of files, each of which appears as a whole.

Any reader of Parquet sees each title once and whole at every moment: new titles come in a new file, and a
title that is there already is replaced in the file that has it. One sink at a time writes to a folder, but
for those of live streams, whose titles have files of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from resonance.clients.ingest.errors import EmptyStoreError, MissingPartError, StoreError
from resonance.clients.ingest.labels import LABELS, has_labels, with_labels
from resonance.clients.ingest.part_files import PartFolder, part_name
from resonance.clients.ingest.rows import check_space, space_of, title_schema
from resonance.clients.ingest.types import CatalogueItem, StorageFault
from resonance.clients.results import SpaceRef
from resonance.space.errors import SpaceMismatchError

EXPECTED_STORE = "a folder that `resonance ingest` filled"
#: Parts whose titles are looked up side by side; in an object store nearly all of the time is waiting.
_PARTS_AT_ONCE = 16
_NAMES_AT_ONCE = 65536


class ParquetSink:
    """See `resonance.clients.ingest.types.Sink`.

    What is replaced is looked up in the folder, so a title comes twice into none, whoever forgot that it is
    there; the names that `write` is given are not needed.

    Raises:
        StoreError: the folder cannot be made or read. SpaceMismatchError: its files are of another space.
    """

    def __init__(self, uri: str, space: SpaceRef) -> None:
        self.uri, self._space = uri, space
        self._schema = title_schema(space)
        self._folder = PartFolder(uri)
        self._folder.prepare()
        for part in self._folder.names()[:1]:
            found = space_of(self._folder.schema(part))
            if found is None or found.fingerprint != space.fingerprint:
                raise SpaceMismatchError(found.fingerprint if found else "none", space.fingerprint, uri)
        self._index: _Index | None = None

    def write(self, rows: pa.Table, *, batch: str, replaces: Collection[str] = ()) -> None:
        """See `Sink.write`."""
        check_space(rows, self._space, self.uri)
        part = part_name(batch)
        if self._folder.has(part):
            return  # it is written last: all else was done before
        if not rows.schema.equals(self._schema, check_metadata=True):
            rows = rows.cast(self._schema)
        index, self._index = self._names(), None  # unknown, should it break off
        old = self._replace(rows, index)
        new = rows  # filtering copies every vector
        if old:
            new = rows.filter(pc.invert(pc.is_in(rows["media_id"], _strings(old))))
        if new.num_rows:
            self._folder.write(part, [new])
            index.add(part, new["media_id"].to_pylist())
        self._index = index

    def _replace(self, rows: pa.Table, index: _Index) -> list[str]:
        """Put those of `rows` that are there in the place of their earlier versions; gives their names."""
        replaced: list[str] = []
        names = rows["media_id"]
        for part in index.parts_with(names.to_pylist()):
            there = pa.Table.from_batches(self._folder.batches(part, ["media_id"]))["media_id"]
            here = there.filter(pc.is_in(there, names.combine_chunks())).to_pylist()
            if here:
                mine = rows.filter(pc.is_in(names, _strings(here)))
                self._folder.write(part, _replaced(self._folder.batches(part), mine))
                replaced += here
        return replaced

    def remove(self, media_ids: Collection[str]) -> None:
        """See `Sink`. A file whose titles all go stays, without rows, for those who have it listed."""
        index, gone = self._names(), _strings(list(media_ids))
        self._index = None
        for part in index.parts_with(list(media_ids)):
            names = pa.Table.from_batches(self._folder.batches(part, ["media_id"]))["media_id"]
            if pc.any(pc.is_in(names, gone)).as_py():
                self._folder.write(part, _without(self._folder.batches(part), gone, self._schema))

    def groups(self, media_ids: Sequence[str]) -> Iterator[list[str]]:
        """See `Sink`: by file, so that each is written anew once."""
        return self._names().by_part(media_ids)

    def relabel(self, items: Mapping[str, CatalogueItem]) -> None:
        """See `Sink`. A file whose titles say all of it already is left as it is."""
        for part in self._names().parts_with(list(items)):
            with suppress(MissingPartError):
                said = self._folder.batches(part, ["media_id", *LABELS])
                rows = pa.Table.from_batches(said).to_pylist()
                mine = [(items[row["media_id"]], row) for row in rows if row["media_id"] in items]
                if not all(has_labels(item, row) for item, row in mine):
                    batches = self._folder.batches(part)
                    tables = (with_labels(pa.Table.from_batches([b]), items, self._space) for b in batches)
                    self._folder.write(part, tables)

    def _names(self) -> _Index:
        if self._index is None:
            self._index = _Index(self._folder, self._folder.names())
        return self._index

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `Sink`."""
        return self._names().find(self._folder, media_ids, columns)

    def lacking(self, titles: Iterable[tuple[str, str | None]]) -> Iterator[str]:
        """See `Sink`. The names of all titles are read, which the first batch needs anyway, and versions."""
        self._index = None
        index = _Index(self._folder, [])
        versions = index.read(self._folder, self._folder.names(), with_versions=True)
        there = np.sort(np.concatenate([index.hashes, versions]))
        there = np.append(there, np.uint64(0))  # what stands behind the last is no title's
        self._index, rest = index, iter(titles)
        while some := list(islice(rest, _NAMES_AT_ONCE)):
            wanted = _hashes([_versioned(*title) for title in some])
            found = there[np.searchsorted(there[:-1], wanted)] == wanted
            yield from (some[number][0] for number in np.flatnonzero(~found))

    def is_empty(self) -> bool:
        """See `Sink`. A file without rows has none."""
        return not any(self._folder.count(part) for part in self._folder.names())

    def close(self) -> None:
        """Nothing is open."""


class ParquetStore:
    """See `resonance.clients.ingest.types.Store`.

    Each call lists the folder and reads its parts as they are then; those that came or were written anew
    since the last call are checked as all were when it was opened. A part that goes while it is read is
    passed over.

    Args:
        lenient: leave out files that cannot be read or are of another space, and tell of them in `faults`.

    Raises (all methods):
        StoreError: one cannot be read. EmptyStoreError: there are no such files.
        SpaceMismatchError: they are of more than one space.
    """

    def __init__(self, uri: str, *, lenient: bool = False) -> None:
        self.uri = uri
        self._folder = PartFolder(uri)
        self._lenient = lenient
        self._states: dict[str, str] = {}  # of the parts that were looked at
        self._parts: list[str] = []  # those of them that are read
        self._faults: list[StorageFault] = []
        self._changes = 0
        self._fingerprint: str | None = None  # of `space`, once a part was read
        self._index: _Index | None = None
        self._parts_now()

    def _parts_now(self) -> list[str]:
        """The parts that are there; of those that did not change since the last call nothing is read."""
        states = self._folder.states()
        if states != self._states:
            same = {part for part, state in states.items() if self._states.get(part) == state}
            kept = [part for part in self._parts if part in same]
            new = [part for part in states if part not in same and self._is_mine(part)]
            if self._index is not None:
                # should reading break off, it is made anew
                index, self._index = self._index, None
                index.keep(kept)
                index.read(self._folder, new)
                self._index = index
            self._parts, self._states = sorted(kept + new), states
            self._changes += 1
        if not self._parts:
            raise EmptyStoreError(self.uri, "no titles", EXPECTED_STORE)
        return self._parts

    def _is_mine(self, part: str) -> bool:
        """Whether a part can be read and is of the store's space; the first one says which that is."""
        try:
            found = space_of(self._folder.schema(part))
            if found is None or found.fingerprint != (self._fingerprint or found.fingerprint):
                raise SpaceMismatchError(
                    self._fingerprint or "one",
                    found.fingerprint if found else "none",
                    self._folder.where(part),
                )
        except MissingPartError:  # since it was listed
            return False
        except (StoreError, SpaceMismatchError) as error:
            if not self._lenient:
                raise
            self._faults.append(_fault(part, error))
            return False
        if self._fingerprint is None:
            self.space, self._fingerprint = found, found.fingerprint
        return True

    def count(self) -> int:
        """See `Store`."""
        titles = 0
        for part in self._parts_now():
            with suppress(MissingPartError):
                titles += self._folder.count(part)
        return titles

    def titles(
        self, columns: Collection[str] | None = None, *, all_or_error: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """See `Store`; with vectors a row group at a time."""
        parts = self._parts_now()
        missing = sorted(self._states.keys() - set(parts))
        for part in parts:
            try:
                yield from self._folder.batches(part, list(columns) if columns is not None else None)
            except MissingPartError:
                missing.append(part)
            except StoreError as error:
                if not self._lenient:
                    raise
                self._faults.append(_fault(part, error))
        if missing and all_or_error:
            came = "it went while the store was read"
            raise MissingPartError(self._folder.where(missing[0]), came, "all of its files; look again")

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `Store`; the names of all titles are read the first time, later those of new parts."""
        parts = self._parts_now()
        if self._index is None:
            self._index = _Index(self._folder, parts)
        return self._index.find(self._folder, media_ids, columns)

    def revision(self) -> int:
        """See `Store`; how many times the folder was found changed, by a title that was replaced as well."""
        self._parts_now()
        return self._changes

    def faults(self) -> Iterator[StorageFault]:
        """See `Store`."""
        return iter(self._faults)

    def close(self) -> None:
        """Nothing is open."""


class _Index:
    """In which part a title may be: 12 bytes a title, so that no part is read for one that it has not.

    Made from the column of names alone.

    Attributes:
        hashes: of the names, uint64 [N].
    """

    def __init__(self, folder: PartFolder, parts: Sequence[str]) -> None:
        self._parts: list[str] = []
        self.hashes = _hashes([])
        self._part_of = np.empty(0, np.int32)  # of each hash, in `_parts`
        self.read(folder, parts)

    def read(
        self, folder: PartFolder, parts: Sequence[str], *, with_versions: bool = False
    ) -> NDArray[np.uint64]:
        """Parts that it has not yet. One that is not there any more has no titles.

        Gives the hashes of their titles' names in their version, none without `with_versions`.
        """
        columns = ["media_id", "content_hash"] if with_versions else ["media_id"]

        def hashes_of(part: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
            with suppress(MissingPartError):
                batches = list(folder.batches(part, columns))
                names, *versions = (
                    [value for batch in batches for value in batch[column].to_pylist()] for column in columns
                )
                return _hashes(names), _hashes(map(_versioned, names, *versions) if versions else ())
            return _hashes([]), _hashes([])

        found: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        with ThreadPoolExecutor(_PARTS_AT_ONCE) as threads:
            for at in range(0, len(parts), _PARTS_AT_ONCE):
                found += threads.map(hashes_of, parts[at : at + _PARTS_AT_ONCE])
        self._extend(parts, [names for names, _ in found])
        return np.concatenate([_hashes([]), *(versions for _, versions in found)])

    def keep(self, parts: Collection[str]) -> None:
        """Forget all others."""
        wanted = set(parts)
        numbers = [number for number, part in enumerate(self._parts) if part in wanted]
        kept = np.isin(self._part_of, numbers)
        self._parts = [self._parts[number] for number in numbers]
        self.hashes = self.hashes[kept]
        self._part_of = np.searchsorted(numbers, self._part_of[kept]).astype(np.int32)

    def add(self, part: str, media_ids: Sequence[str]) -> None:
        """A part was written."""
        self._extend([part], [_hashes(media_ids)])

    def _extend(self, parts: Sequence[str], hashes: Sequence[NDArray[np.uint64]]) -> None:
        numbers = np.arange(len(self._parts), len(self._parts) + len(parts), dtype=np.int32)
        self._parts += parts
        self.hashes = np.concatenate([self.hashes, *hashes])
        self._part_of = np.concatenate([self._part_of, np.repeat(numbers, [len(h) for h in hashes])])

    def parts_with(self, media_ids: Sequence[str]) -> list[str]:
        """Parts that may have one of them; no other has."""
        found = self._part_of[np.isin(self.hashes, _hashes(media_ids))]
        return [self._parts[number] for number in np.unique(found)]

    def by_part(self, media_ids: Sequence[str]) -> Iterator[list[str]]:
        """Titles in groups: those of a part, of one part after the other; last those that none has."""
        if not media_ids:
            return
        part_of = self._looked_up(media_ids, np.argsort(self.hashes))
        by_part = np.argsort(part_of, kind="stable")
        for group in np.split(by_part, np.flatnonzero(np.diff(part_of[by_part])) + 1):
            yield [media_ids[at] for at in group]

    def _looked_up(self, media_ids: Sequence[str], order: NDArray[np.intp]) -> NDArray[np.int64]:
        """The number of the part of each title, [N]; of one that none has, that behind the last.

        `order`: in which the hashes are sorted.
        """
        wanted = _hashes(media_ids)
        at = np.searchsorted(self.hashes, wanted, sorter=order)
        part_of = np.full(len(wanted), len(self._parts))
        inside = np.flatnonzero(at < len(order))
        found = order[at[inside]]
        is_here = self.hashes[found] == wanted[inside]
        part_of[inside[is_here]] = self._part_of[found[is_here]]
        return part_of

    def find(
        self, folder: PartFolder, media_ids: Collection[str], columns: Collection[str] | None
    ) -> Iterator[pa.RecordBatch]:
        """Titles of the parts, by name; a part that is not there any more is passed over."""
        wanted = list(media_ids)
        for part in self.parts_with(wanted):
            with suppress(MissingPartError):
                yield from folder.rows(part, wanted, None if columns is None else list(columns))


def _versioned(media_id: str, content_hash: str | None) -> str:
    return media_id if content_hash is None else f"{media_id}\0{content_hash}"


def _hashes(media_ids: Iterable[str]) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in media_ids)
    return np.frombuffer(digests, np.uint64)  # (N,)


def _replaced(batches: Iterator[pa.RecordBatch], mine: pa.Table) -> Iterator[pa.Table]:
    """A part's titles with those of `mine` in the place of their earlier versions."""
    yield from _without(batches, mine["media_id"].combine_chunks(), mine.schema)
    yield mine


def _without(batches: Iterator[pa.RecordBatch], gone: pa.Array, schema: pa.Schema) -> Iterator[pa.Table]:
    """A part's titles but for those named in `gone`; where none is left, a table of no rows."""
    yield schema.empty_table()
    for batch in batches:
        table = pa.Table.from_batches([batch])
        kept = table.filter(pc.invert(pc.is_in(table["media_id"], gone)))
        if kept.num_rows:
            yield kept.cast(schema)


def _strings(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _fault(part: str, error: Exception) -> StorageFault:
    kind = "file of another space" if isinstance(error, SpaceMismatchError) else "file that cannot be read"
    return StorageFault(kind, part)
