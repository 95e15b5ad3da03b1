"""Titles as a Parquet data set: a folder of immutable files, each of which appears as a whole.

Any reader of Parquet sees each title once and whole at every moment: new titles come in a new file, and a
title that changed is replaced in the file that has its earlier version. A file is written under a hidden
name, synced, and renamed; in an object store, where a write is whole or not at all anyway, under its own.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.rows import check_space, space_of, title_schema
from resonance.clients.ingest.uris import local_path
from resonance.clients.results import SpaceRef
from resonance.space.errors import SpaceMismatchError

PART, ENDING = "part-", ".parquet"
_HALF = ".half-"
#: Titles a row group: what a reader holds at once. One is 7 KB and 7 KB a segment; a film has 900.
ROW_GROUP_TITLES = 16
COMPRESSION = "zstd"
EXPECTED_STORE = "a folder that `resonance ingest` filled"


class ParquetSink:
    """See `resonance.clients.ingest.types.Sink`.

    Raises:
        StoreError: the folder cannot be made or read. SpaceMismatchError: its files are of another space.
    """

    def __init__(self, uri: str, space: SpaceRef) -> None:
        self.uri, self._space = uri, space
        self._folder = _Folder(uri)
        with _named(uri):
            self._folder.make()
            for half in self._folder.names(_HALF, ENDING):
                self._folder.remove(half)  # of a job that was killed while it wrote
            for part in self._folder.names(PART, ENDING)[:1]:
                check_space(self._folder.schema(part).empty_table(), space, uri)

    def write(self, rows: pa.Table, *, batch: str, replaces: Collection[str] = ()) -> None:
        """See `Sink.write`."""
        check_space(rows, self._space, self.uri)
        part = f"{PART}{batch}{ENDING}"
        with _named(self.uri):
            if self._folder.has(part):
                return  # its last step: all others were done before
            old = self._replace(rows, frozenset(replaces)) if replaces else frozenset()
            new = rows.filter(pc.invert(pc.is_in(rows["media_id"], pa.array(sorted(old), pa.string()))))
            if new.num_rows:
                self._folder.write(part, [new.cast(title_schema(self._space))])

    def _replace(self, rows: pa.Table, replaces: frozenset[str]) -> frozenset[str]:
        """Put those of `replaces` that have a place there; gives them."""
        replaced: set[str] = set()
        wanted = pa.array(sorted(replaces), pa.string())
        for part in self._folder.names(PART, ENDING):
            ids = self._folder.read(part, ["media_id"])["media_id"]
            here = ids.filter(pc.is_in(ids, wanted)).to_pylist()
            if here:
                kept = _without(self._folder.batches(part), here)
                mine = rows.filter(pc.is_in(rows["media_id"], pa.array(here, pa.string())))
                self._folder.write(part, _then(kept, mine.cast(title_schema(self._space))))
                replaced.update(here)
        return frozenset(replaced)

    def close(self) -> None:
        """Nothing is open."""


class ParquetStore:
    """See `resonance.clients.ingest.types.Store`.

    Raises:
        StoreError: there are no such files. SpaceMismatchError: they are of more than one space.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._folder = _Folder(uri)
        with _named(uri):
            self._parts = self._folder.names(PART, ENDING)
            spaces = [space_of(self._folder.schema(part)) for part in self._parts]
        if not spaces or spaces[0] is None:
            raise StoreError(uri, "no titles", EXPECTED_STORE)
        self.space = spaces[0]
        for part, found in zip(self._parts, spaces, strict=True):
            if found is None or found.fingerprint != self.space.fingerprint:
                other = found.fingerprint if found else "none"
                raise SpaceMismatchError(self.space.fingerprint, other, f"{uri}/{part}")

    def count(self) -> int:
        """See `Store`."""
        with _named(self.uri):
            return sum(self._folder.rows(part) for part in self._parts)

    def titles(self, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See `Store`."""
        with _named(self.uri):
            for part in self._parts:
                yield from self._folder.batches(part, list(columns) if columns is not None else None)

    def stray_segments(self) -> int:
        """None: they stand in their title's row."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class _Folder:
    """Files of one folder, here or elsewhere."""

    def __init__(self, uri: str) -> None:
        self._local = local_path(uri) is not None
        where = str(local_path(uri)) if self._local else uri
        self._files, self._root = fsspec.core.url_to_fs(where)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def make(self) -> None:
        self._files.makedirs(self._root, exist_ok=True)

    def names(self, beginning: str, ending: str) -> list[str]:
        if not self._files.exists(self._root):
            return []
        self._files.invalidate_cache(self._root)
        names = (path.rstrip("/").rpartition("/")[2] for path in self._files.ls(self._root, detail=False))
        return sorted(name for name in names if name.startswith(beginning) and name.endswith(ending))

    def has(self, name: str) -> bool:
        self._files.invalidate_cache(self._root)
        return bool(self._files.exists(self._path(name)))

    def remove(self, name: str) -> None:
        self._files.rm_file(self._path(name))

    def schema(self, name: str) -> pa.Schema:
        with self._files.open(self._path(name), "rb") as file:
            return pq.read_schema(file)

    def rows(self, name: str) -> int:
        with self._files.open(self._path(name), "rb") as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    def read(self, name: str, columns: Sequence[str]) -> pa.Table:
        with self._files.open(self._path(name), "rb") as file:
            return pq.read_table(file, columns=list(columns))

    def batches(self, name: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        with self._files.open(self._path(name), "rb") as file:
            yield from pq.ParquetFile(file).iter_batches(ROW_GROUP_TITLES, columns=columns)

    def write(self, name: str, tables: Sequence[pa.Table] | Iterator[pa.Table]) -> None:
        """All `tables`, of one schema, as one file, whole or not at all."""
        if not self._local:
            whole = io.BytesIO()  # a file that breaks off would be stored as it is; one call is not
            _write_parquet(whole, tables)
            self._files.pipe_file(self._path(name), whole.getvalue())
            return
        half = self._path(f"{_HALF}{uuid.uuid4().hex}{ENDING}")
        with open(half, "wb") as file:
            _write_parquet(file, tables)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, self._path(name))
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)


def _write_parquet(file: object, tables: Sequence[pa.Table] | Iterator[pa.Table]) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema, **WRITE_OPTIONS)
            writer.write_table(table, row_group_size=ROW_GROUP_TITLES)
    finally:
        if writer is not None:
            writer.close()


#: Vectors are noise to a dictionary, which costs time and gains nothing.
WRITE_OPTIONS = {"compression": COMPRESSION, "use_dictionary": False}


def _without(batches: Iterator[pa.RecordBatch], media_ids: Sequence[str]) -> Iterator[pa.Table]:
    gone = pa.array(media_ids, pa.string())
    for batch in batches:
        table = pa.Table.from_batches([batch])
        yield table.filter(pc.invert(pc.is_in(table["media_id"], gone)))


def _then(first: Iterator[pa.Table], last: pa.Table) -> Iterator[pa.Table]:
    for table in first:
        yield table.cast(last.schema)
    yield last


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """Errors of files and of Parquet name the store."""
    try:
        yield
    except (StoreError, SpaceMismatchError):
        raise
    except Exception as error:  # every file system's library has errors of its own
        raise StoreError(uri, f"{type(error).__name__}: {error}", "a folder that can be used") from error
