"""Media whose bytes are still arriving, in order or not: reads wait for them."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from resonance.clients.errors import CorruptMediaError
from resonance.clients.media.ranges import Ranges
from resonance.clients.media.waiting import Waits

#: Answers to FFmpeg's seeks, as AVERROR numbers: it has no use for an exception there.
SIZE_UNKNOWN, CANNOT_SEEK = -38, -29
#: While a container is opened, jumps ahead by more than this lead to its end and not to the next element.
NEAR_BYTES = 1 << 20
#: Tags at the end of an MP3 are looked for this near to it.
TAG_BYTES = 160
#: What tells a file's family: of an MP4 a box's size and type.
HEAD_BYTES = 8


class ForgottenBytesError(CorruptMediaError):
    """Bytes of a live feed that were given back already; only what is read late asks for them."""


class GrowingSource:
    """A source to which bytes are added while it is read; its handles wait for those that are missing.

    Args:
        read_at: (offset, size) to bytes of what was added.
        size_bytes: of the whole, where it is known.
        changed: called, without a lock held, when a handle begins or ceases to wait.
    """

    def __init__(
        self,
        name: str,
        read_at: Callable[[int, int], bytes],
        *,
        size_bytes: int | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self.waits = name, Waits()
        self.path: Path | None = None
        self._read_at, self._changed = read_at, changed
        self._size = size_bytes
        self._ended = self._closed = False
        self._forgotten = 0  # bytes before this position are gone
        self._waits_for_end = 0
        self._ranges = Ranges()
        self._arrival = threading.Condition()
        self._handles: set[GrowingHandle] = set()

    def add(self, offset: int, length: int) -> None:
        """Bytes [offset, offset + length) can be read."""
        with self._arrival:
            self._ranges.add(offset, offset + length)
            self._arrival.notify_all()

    def end(self, size_bytes: int) -> None:
        """No more bytes come; the file is that long."""
        with self._arrival:
            self._size, self._ended = size_bytes, True
            self._arrival.notify_all()

    def forget(self, before: int) -> None:
        """Bytes before that position are gone."""
        with self._arrival:
            self._forgotten = max(self._forgotten, before)
            self._arrival.notify_all()

    def open(self) -> BinaryIO:
        """A new handle at the start."""
        handle = GrowingHandle(self)
        with self._arrival:
            self._handles.add(handle)
        return cast("BinaryIO", handle)

    def close(self) -> None:
        """Handles that wait give up."""
        with self._arrival:
            self._closed = True
            self._arrival.notify_all()

    def wait_for_all(self) -> None:
        """Until the last byte is there."""
        self._wait(lambda: self._ended, None)

    def positions(self) -> tuple[list[tuple[int, int]], list[int]]:
        """((position, bytes read so far) of each open handle, positions that are waited for; -1: the end)."""
        with self._arrival:
            states = [(h.position, h.read_bytes) for h in self._handles]
            waited = [h.waits_at for h in self._handles if h.waits_at is not None]
            waited += [-1] * self._waits_for_end
        return states, waited

    def drop(self, handle: GrowingHandle) -> None:
        """The handle is closed."""
        with self._arrival:
            self._handles.discard(handle)

    def head(self) -> bytes:
        """The first `HEAD_BYTES` bytes; waits for them."""
        with contextlib.closing(GrowingHandle(self)) as handle:
            return handle.read(HEAD_BYTES)

    def size(self, *, wait: bool) -> int | None:
        """Size in bytes; None where it is not known yet and that is not waited for."""
        if wait and self._size is None:
            self.wait_for_all()
        return self._size

    def read(self, handle: GrowingHandle, size: int) -> bytes:
        """Up to `size` bytes at the handle's position, at least one but at the end.

        Raises:
            ForgottenBytesError: they are gone. ValueError: the source was closed.
        """
        at = handle.position
        self._wait(lambda: self._ended or at in self._ranges or at < self._forgotten, handle)
        with self._arrival:
            if at < self._forgotten:
                raise ForgottenBytesError(
                    self.name,
                    f"bytes at {at:,} of a live feed that were given back",
                    f"a reader no further behind than {self._forgotten:,}",
                )
            reach = self._ranges.end_of(at)
        return self._read_at(at, min(size, reach - at)) if reach > at else b""

    def _wait(self, arrived: Callable[[], bool], handle: GrowingHandle | None) -> None:
        with self._arrival:
            self._check_open()
            if arrived():
                return
            self._mark(handle, waits=True)
        self._changed()
        try:
            with self._arrival, self.waits.waiting():
                self._arrival.wait_for(lambda: self._closed or arrived())
                self._check_open()
        finally:
            with self._arrival:
                self._mark(handle, waits=False)
            self._changed()

    def _mark(self, handle: GrowingHandle | None, *, waits: bool) -> None:
        if handle is not None:
            handle.waits_at = handle.position if waits else None
        else:
            self._waits_for_end += 1 if waits else -1

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.name}: read after it was closed")


class GrowingHandle(io.RawIOBase):
    """A handle on a `GrowingSource`.

    Attributes:
        position: of the next byte; read_bytes: read so far; waits_at: position that it waits for, or None.
        told_bytes: size that FFmpeg is told where it must not wait for the real one; None: not known.
        streamed: FFmpeg reads through it, takes what is there, and does not wait for the size.
        opening: a container is being opened, and jumps far ahead are refused: they look for an index or tags
            at the end, which reading can do without. refused: one was.
    """

    def __init__(self, source: GrowingSource) -> None:
        self._source = source
        self.position = self.read_bytes = 0
        self.waits_at: int | None = None
        self.told_bytes: int | None = None
        self.streamed = self.opening = self.refused = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, fewer at the end only; where `streamed`, as many of them as are there."""
        if size is None or size < 0:
            return self.readall()
        parts, missing = [], size
        while missing and (data := self._source.read(self, missing)):
            self.position += len(data)
            self.read_bytes += len(data)
            missing -= len(data)
            parts.append(data)
            if self.streamed:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """The new position; `SIZE_UNKNOWN` or `CANNOT_SEEK` where `streamed` and `opening` say so."""
        if whence == io.SEEK_END:
            size = self.told_bytes if self.streamed else self._source.size(wait=True)
            if size is None:
                return SIZE_UNKNOWN
            offset += size
            self.position = max(offset, 0)
            return self.position
        if whence == io.SEEK_CUR:
            offset += self.position
        if offset < 0:
            return CANNOT_SEEK
        if self.opening and self._is_far(offset):
            self.refused = True
            return CANNOT_SEEK
        self.position = offset
        return offset

    def _is_far(self, offset: int) -> bool:
        ahead = offset - self.position
        at_end = self.told_bytes is not None and offset >= self.told_bytes - TAG_BYTES
        return ahead > NEAR_BYTES or (at_end and ahead > 0)

    def close(self) -> None:
        if not self.closed:
            self._source.drop(self)
        super().close()
