"""Bytes of uploads on disk while they are read: files without a name, and one budget for all of them."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from resonance.clients.errors import InvalidFieldError, OverloadedError
from resonance.clients.media.ranges import Ranges
from resonance.serving.gateway.shares import RETRY_AFTER_S, Share, make_room

#: Pieces that do not touch each other; every one takes a block on disk, however small it is.
MAX_PIECES = 1024
BLOCK_BYTES = 4096
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)
_LIBC = ctypes.CDLL(None, use_errno=True)
#: A disk that takes no more refuses every upload; the log tells of it this often.
_TOLD_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class SpoolBudget:
    """Bytes that all spools together may hold. For one event loop; not for threads.

    Args:
        on_refused: called when there is no room.
    """

    def __init__(self, max_bytes: int, on_refused: Callable[[], None] = lambda: None) -> None:
        self.max_bytes, self.used_bytes = max_bytes, 0
        self.shares: set[Share] = set()
        self._on_refused = on_refused
        self._told_s = -math.inf

    def take(self, size_bytes: int, share: Share) -> None:
        """So many more bytes for an upload.

        Raises:
            OverloadedError: there is no room. A caller who holds over twice as much then loses an upload.
        """
        if self.used_bytes + size_bytes > self.max_bytes:
            make_room(self.shares, share.caller, size_bytes, "bytes on disk")
            raise self.refusal(
                f"uploads hold {self.used_bytes:,} bytes on disk and {size_bytes:,} came; "
                f"expected at most {self.max_bytes:,} in all"
            )
        self.used_bytes += size_bytes
        share.held += size_bytes
        self.shares.add(share)

    def refusal(self, why: str) -> OverloadedError:
        """An error for want of room, counted."""
        self._on_refused()
        return OverloadedError(f"{why}: send again later", retry_after_s=RETRY_AFTER_S)

    def disk_refusal(self, why: str) -> OverloadedError:
        """The same where the disk takes no more, of which the budget knows nothing: the log tells of it."""
        if time.monotonic() - self._told_s >= _TOLD_EVERY_S:
            self._told_s = time.monotonic()
            _log.error(
                "%s; uploads are refused until there is room, or --spool-folder names another disk", why
            )
        return self.refusal(why)

    def give_back(self, size_bytes: int, share: Share) -> None:
        """So many bytes are free again."""
        self.used_bytes -= size_bytes
        share.held -= size_bytes
        if not share.held:
            self.shares.discard(share)


class Spool:
    """One upload's bytes. Files are sparse: what has not arrived takes no room.

    Args:
        share: whose it is, and how it is ended for others; by default nobody's in particular.

    Attributes:
        there: the bytes that have arrived, those forgotten since included.
        received_bytes: how many, each counted once.
        end_bytes: where the last of them ends.
    """

    def __init__(self, folder: Path, budget: SpoolBudget, share: Share | None = None) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  close() does
        except OSError as error:
            raise budget.disk_refusal(f"no file for an upload in {folder} ({error.strerror})") from error
        self._budget, self._share = budget, share or Share("")
        self._forgotten = 0
        self.there = Ranges()
        self.received_bytes = self.end_bytes = 0

    @property
    def held_bytes(self) -> int:
        """On disk now."""
        return self._share.held

    def write(self, offset: int, data: bytes) -> None:
        """Store what is missing of `data` at `offset`. Blocks as long as the page cache takes.

        Bytes that are there already, or were forgotten, stay as they are and take no room.

        Raises:
            OverloadedError: the budget is used up. InvalidFieldError: too many pieces lie about.
        """
        missing = self._missing(max(offset, self._forgotten), offset + len(data))
        self._budget.take(_length(missing), self._share)
        view = memoryview(data)
        for start, end in missing:
            self._write(start, view[start - offset : end - offset])
        self.received_bytes += self.there.add(offset, offset + len(data))
        self.end_bytes = max(self.end_bytes, offset + len(data))
        if len(self.there) > MAX_PIECES:
            raise InvalidFieldError(
                "chunk.offset_bytes", f"{len(self.there):,} pieces apart", f"at most {MAX_PIECES:,}"
            )

    def _write(self, at: int, view: memoryview) -> None:
        while view:
            try:
                written = os.pwrite(self._file.fileno(), view, at)
            except OSError as error:  # the disk is fuller than the budget knows
                raise self._budget.disk_refusal(
                    f"no room for an upload on disk ({error.strerror})"
                ) from error
            view, at = view[written:], at + written

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        gaps = []
        while start < end:
            start = self.there.end_of(start)
            stop = self.there.start_after(start)
            stop = end if stop is None else min(stop, end)
            if start < stop:
                gaps.append((start, stop))
            start = stop
        return gaps

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes that have arrived."""
        return os.pread(self._file.fileno(), size_bytes, offset)

    def open_to_read(self) -> int:
        """A file descriptor of its own that can only read; the caller closes it."""
        return os.open(f"/proc/self/fd/{self._file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)

    def forget(self, before: int) -> None:
        """Give back the disk of all whole blocks before that position, no further than bytes have come."""
        before = min(before, self.end_bytes)
        before -= before % BLOCK_BYTES
        size = before - self._forgotten
        if size <= 0:
            return
        held = size - _length(self._missing(self._forgotten, before))
        result = _LIBC.fallocate(
            self._file.fileno(),
            _PUNCH_HOLE | _KEEP_SIZE,
            ctypes.c_int64(self._forgotten),
            ctypes.c_int64(size),
        )
        if result != 0:
            return  # a file system without holes: the budget says when it is enough
        self._forgotten = before
        self._budget.give_back(held, self._share)

    def close(self) -> None:
        """Free the disk and the budget."""
        if not self._file.closed:
            self._file.close()
            self._budget.give_back(self.held_bytes, self._share)


def _length(ranges: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges)
