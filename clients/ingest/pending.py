"""Embedded titles on their way into a batch, and when it is time to write one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pyarrow as pa

from resonance.clients.errors import UsageError
from resonance.clients.ingest.rows import with_later_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSize:
    """When embedded titles are written to the sink: as soon as one of the bounds is reached."""

    titles: int = 64
    size_bytes: int = 64 << 20
    age_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("titles", "size_bytes", "age_s"):
            if getattr(self, name) <= 0:
                raise UsageError(f"batch {name} is {getattr(self, name)}; expected more than 0")


@dataclass(slots=True)
class Pending:
    """Embedded titles that are in no batch yet, by media id."""

    rows: dict[str, bytes] = field(default_factory=dict)
    size_bytes: int = 0
    since_s: float = 0.0

    def add(self, media_id: str, row: bytes) -> None:
        """A title's row, in the place of an earlier one of it."""
        self.drop(media_id)
        if not self.rows:
            self.since_s = time.monotonic()
        self.rows[media_id] = row
        self.size_bytes += len(row)

    def drop(self, media_id: str) -> None:
        """Forget a title's row, if there is one."""
        self.size_bytes -= len(self.rows.pop(media_id, b""))

    def is_full(self, size: BatchSize) -> bool:
        """Whether they are as many as go into a batch."""
        return len(self.rows) >= size.titles or self.size_bytes >= size.size_bytes

    def is_due(self, size: BatchSize) -> bool:
        """Whether they are to be written now."""
        return self.is_full(size) or (bool(self.rows) and time.monotonic() - self.since_s >= size.age_s)


def row_bytes(row: pa.Table) -> bytes:
    """A table as Arrow's IPC stream."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, row.schema) as writer:
        writer.write_table(row)
    return bytes(out.getvalue())


def read_row(data: bytes) -> pa.Table:
    """The table of `row_bytes`, which may be of a job of before some columns."""
    with pa.ipc.open_stream(data) as reader:
        return with_later_columns(reader.read_all())
