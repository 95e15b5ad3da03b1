"""Titles that failed for their own fault, as a Parquet file for people to look at."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.journal_records import Failure
from resonance.clients.new_files import whole_file

#: Rows held in memory while the file is written.
_CHUNK_ROWS = 10_000
_SCHEMA = pa.schema(
    [
        ("media_id", pa.string()),
        ("uri", pa.string()),
        ("content_hash", pa.string()),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("failed_at", pa.timestamp("us", tz="UTC")),
    ]
)


def make_folder(path: Path) -> None:
    """The folder that `path` is to stand in, before the long work that ends with it.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        came = f"its folder cannot be made ({error.strerror})"
        raise StoreError(str(path), came, "a place for titles in quarantine") from error


def write_failures(failures: Iterable[Failure], path: Path) -> int:
    """Write `path` anew, whole or not at all; gives the number of rows.

    Raises:
        StoreError: it cannot be written.
    """
    make_folder(path)
    try:
        with whole_file(path) as half, half.open("wb") as file:
            return _write(failures, file)
    except OSError as error:
        raise StoreError(str(path), str(error), "a place for titles in quarantine, with room") from error


def _write(failures: Iterable[Failure], file: BinaryIO) -> int:
    count, rest = 0, iter(failures)
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        while rows := [_row(failure) for failure in islice(rest, _CHUNK_ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
            count += len(rows)
    return count


def _row(failure: Failure) -> dict[str, object]:
    return {
        "media_id": failure.media_id,
        "uri": failure.uri,
        "content_hash": failure.content_hash,
        "error_type": failure.error_type,
        "error": failure.error,
        "attempts": failure.attempts,
        "failed_at": int(failure.failed_s * 1e6),
    }
