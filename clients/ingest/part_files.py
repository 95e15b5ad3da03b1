"""The files of a Parquet data set: each appears as a whole, and is read a row group at a time."""

from __future__ import annotations

import fcntl
import io
import os
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resonance.clients.errors import UsageError, described
from resonance.clients.ingest.errors import MissingPartError, StoreError
from resonance.clients.ingest.file_systems import file_system
from resonance.clients.ingest.rows import with_later_columns
from resonance.clients.ingest.uris import local_path
from resonance.space.errors import SpaceMismatchError

_PART, _HALF, _ENDING = "part-", ".half-", ".parquet"
#: What is held at once by whoever reads a row group: 2,048 vectors are 14.6 MB. A longer title has one alone.
ROW_GROUP_VECTORS = 2048
#: Vectors are noise to a dictionary. Split into planes of bytes they are 8% smaller after zstd and read four
#: times as fast (docs/stores.md), because signs and exponents of a unit vector are much alike.
WRITE_OPTIONS = {
    "compression": "zstd",
    "use_dictionary": False,
    "use_byte_stream_split": ["vector.list.element", "segments.list.element.vector.list.element"],
}
_HEAVY_COLUMNS = frozenset(("vector", "segments"))
_ROWS_AT_ONCE = 4096
EXPECTED_PART = (
    "a Parquet file of `resonance ingest`; bring it back from a copy, or remove it for good: the next job "
    "embeds its titles again"
)
EXPECTED_FOLDER = "a folder that can be read and written, with room in it"


class PartFolder:
    """Files ``part-*.parquet`` of one folder, on this machine or wherever fsspec can write.

    Raises (all methods):
        StoreError: names the folder or the file. MissingPartError: the file is not there.
        UsageError: the file system's package is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._local = local_path(uri) is not None
        with _named(uri, EXPECTED_FOLDER):
            self._files, self._root = file_system(str(local_path(uri)) if self._local else uri)

    def prepare(self) -> None:
        """Make the folder, and remove what a writer that was killed left half; not what one writes now."""
        with _named(self.uri, EXPECTED_FOLDER):
            self._files.makedirs(self._root, exist_ok=True)
            for half in self._names(_HALF):
                if not (self._local and _is_written(self._path(half))):
                    with suppress(FileNotFoundError):  # it was whole in the meantime
                        self._files.rm_file(self._path(half))

    def names(self) -> list[str]:
        """The parts that are there; none where there is no folder."""
        with _named(self.uri, EXPECTED_FOLDER):
            return self._names(_PART)

    def states(self) -> dict[str, str]:
        """The parts that are there, by name, each with what its file system tells of it: size, time, ETag.

        Of a part that was written anew it is another text.
        """
        with _named(self.uri, EXPECTED_FOLDER):
            files = {_name_of(file["name"]): file for file in self._listed(detail=True)}
        return {name: repr(sorted(files[name].items(), key=itemgetter(0))) for name in _chosen(files, _PART)}

    def _names(self, beginning: str) -> list[str]:
        return _chosen(map(_name_of, self._listed(detail=False)), beginning)

    def _listed(self, *, detail: bool) -> list[Any]:
        try:
            files: list[Any] = self._files.ls(self._root, detail=detail)
        except FileNotFoundError:  # an object store has no folder before there is something in it
            return []
        return files

    def has(self, name: str) -> bool:
        """Whether a part is there."""
        with _named(self.uri, EXPECTED_FOLDER):
            return bool(self._files.exists(self._path(name)))

    def where(self, name: str) -> str:
        """A part as people would name it."""
        return f"{self.uri.rstrip('/')}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        with (
            _named(self.where(name), EXPECTED_PART, missing=MissingPartError),
            # Reading ahead would fetch vectors where only names are wanted.
            self._files.open(self._path(name), "rb", cache_type="none") as file,
            pq.ParquetFile(file, pre_buffer=True) as parquet,
        ):
            yield parquet

    def schema(self, name: str) -> pa.Schema:
        """That of a part, with its metadata."""
        with self._opened(name) as file:
            return file.schema_arrow

    def count(self, name: str) -> int:
        """Titles of a part, from its footer."""
        with self._opened(name) as file:
            return int(file.metadata.num_rows)

    def batches(self, name: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """`columns` of a part, or all; those with vectors a row group at a time. No other column is read."""
        with self._opened(name) as file:
            if columns is not None and not _HEAVY_COLUMNS.intersection(columns):
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                    yield with_later_columns(batch, columns)
                return
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                for batch in file.iter_batches(max(rows, 1), row_groups=[group], columns=columns):
                    yield with_later_columns(batch, columns)

    def rows(
        self, name: str, media_ids: Collection[str], columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The titles of a part that are among `media_ids`; row groups without one are not read."""
        wanted = pa.array(media_ids, pa.string())
        with self._opened(name) as file:
            for group in range(file.num_row_groups):
                here = pc.is_in(file.read_row_group(group, ["media_id"])["media_id"], wanted)
                if pc.any(here).as_py():
                    found = with_later_columns(file.read_row_group(group, columns).filter(here), columns)
                    yield from found.combine_chunks().to_batches()

    def write(self, name: str, tables: Iterable[pa.Table]) -> None:
        """All `tables`, of one schema, as the part `name`, in the place of one that is there.

        On this machine it is written under a hidden name, synced and renamed. Elsewhere it is put together in
        memory and stored by one call, which object stores take as a whole or not at all.
        """
        with _named(self.where(name), EXPECTED_FOLDER):
            if not self._local:
                whole = io.BytesIO()
                _write_parquet(whole, tables)
                self._files.pipe_file(self._path(name), whole.getvalue())
                return
            half = self._path(f"{_HALF}{uuid.uuid4().hex}{_ENDING}")
            try:
                with open(half, "wb") as file:
                    with suppress(OSError):  # a file system without locks
                        fcntl.flock(file, fcntl.LOCK_EX)  # see `_is_written`
                    _write_parquet(file, tables)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(half, self._path(name))
            except BaseException:
                with suppress(OSError):
                    os.unlink(half)  # the next try needs the room
                raise
            folder = os.open(self._root, os.O_RDONLY)
            try:
                os.fsync(folder)  # the rename itself
            finally:
                os.close(folder)


def part_name(batch: str) -> str:
    """The part that a batch's new titles go to."""
    return f"{_PART}{batch}{_ENDING}"


def _is_written(half: str) -> bool:
    """Whether somebody is writing it: live streams store their titles beside a job, and beside each other."""
    try:
        with open(half, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it is gone, or the file system has no locks
        pass
    return False


def _write_parquet(file: BinaryIO, tables: Iterable[pa.Table]) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema, **WRITE_OPTIONS)
            for group in row_groups(table):
                writer.write_table(group, row_group_size=len(group))
    finally:
        if writer is not None:
            writer.close()


def row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """`table` in slices of at most `ROW_GROUP_VECTORS` vectors, or of one title that has more."""
    lengths = pc.fill_null(pc.list_value_length(table["segments"]), 0)
    begin, held = 0, 0
    for at, vectors in enumerate(np.asarray(lengths) + 1):  # and the title's own
        if held and held + vectors > ROW_GROUP_VECTORS:
            yield table.slice(begin, at - begin)
            begin, held = at, 0
        held += vectors
    if begin < len(table):
        yield table.slice(begin)


def _name_of(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _chosen(names: Iterable[str], beginning: str) -> list[str]:
    return sorted(name for name in names if name.startswith(beginning) and name.endswith(_ENDING))


@contextmanager
def _named(where: str, expected: str, missing: type[StoreError] = StoreError) -> Iterator[None]:
    """Errors of file systems and of Parquet say where and what to do. `missing`: where no file is."""
    try:
        yield
    except (StoreError, SpaceMismatchError, UsageError):
        raise
    except FileNotFoundError as error:
        raise missing(where, described(error, where), expected) from error
    except Exception as error:  # every file system's library has errors of its own
        came = described(error, where)
        raise StoreError(where, came, expected) from error
