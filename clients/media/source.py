"""One input, several independent file handles on it: each stream is read by a reader of its own."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast, runtime_checkable

from resonance.clients.errors import MediaLimitError, NotMediaError, UsageError
from resonance.clients.media.file_objects import (
    binary_file,
    can_seek,
    is_pipe,
    name_of,
    read_some,
    read_what_is_there,
    unreadable,
)
from resonance.clients.media.types import Limits
from resonance.clients.media.waiting import Waits, within

COPY_CHUNK_BYTES = 1 << 20


@runtime_checkable
class Source(Protocol):
    """What media is read from.

    name: what to call it in results and errors; path: where it lies, or None; waits: how long its handles
    have waited for bytes that were not there yet.
    """

    name: str
    path: Path | None
    waits: Waits

    def open(self) -> BinaryIO:
        """A new handle at the start, with a position of its own; close it when done."""
        ...

    def close(self) -> None:
        """Free what the source holds."""
        ...


class MediaSource:
    """A path, bytes or a binary file object that can be opened many times.

    What cannot seek (a pipe, a socket) is copied to an anonymous temporary file first.

    Args:
        name: what to call it in results and errors; by default its path.
        left: whether nobody waits for it any more; asked while a copy is made, as a pipe may never end.

    Raises:
        NotMediaError: it cannot be opened or read, or is empty.
        MediaLimitError: what cannot seek holds more than `limits.max_spool_bytes`.
        MediaStalledError: what cannot seek sends nothing for `limits.stall_timeout_s`.
        UsageError: a file object of text, or of async code; no room for the copy; or it was left.
    """

    def __init__(
        self,
        source: str | Path | bytes | BinaryIO,
        *,
        name: str | None,
        limits: Limits,
        left: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = Path(source) if isinstance(source, str | Path) else None
        self.name = name_of(self.path or source, name)
        self._bytes = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else None
        self._shared: IO[bytes] | None = None
        self._spool: IO[bytes] | None = None
        self._lock = threading.Lock()
        self.waits = Waits()  # its bytes are there, or the file system is at fault
        if self.path is not None and is_pipe(self.path):
            with within(limits.stall_timeout_s, self.name, self._open_path) as pipe:
                self._shared = self._spooled(pipe, limits, left)
        elif self.path is None and self._bytes is None:
            given = binary_file(source, self.name)
            self._shared = given if can_seek(given, self.name) else self._spooled(given, limits, left)
        if self._size() == 0:
            raise NotMediaError(self.name, "no bytes at all", "a video, sound, picture or subtitle file")

    def open(self) -> BinaryIO:
        """A new handle at the start; close it when done."""
        if self._bytes is not None:
            return io.BytesIO(self._bytes)
        if self._shared is not None:
            view = _View(self._shared, self._lock)
            return cast("BinaryIO", io.BufferedReader(view, COPY_CHUNK_BYTES))
        return self._open_path()

    def close(self) -> None:
        """Delete the temporary copy, if one was made."""
        if self._spool is not None:
            self._spool.close()

    def _open_path(self) -> BinaryIO:
        assert self.path is not None
        try:
            return self.path.open("rb")
        except OSError as error:
            raise NotMediaError(
                self.name, f"it cannot be opened ({error.strerror})", "a file that can be read"
            ) from error

    def _size(self) -> int:
        try:
            with self.open() as file:
                return file.seek(0, io.SEEK_END)
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from error

    def _spooled(self, given: BinaryIO, limits: Limits, left: Callable[[], bool]) -> IO[bytes]:
        with self._told_of_room():
            spool = self._spool = tempfile.TemporaryFile(prefix="resonance-")  # noqa: SIM115  close() does
        size, over = 0, threading.Event()

        def read() -> bytes:
            return read_what_is_there(
                given, COPY_CHUNK_BYTES, self.name, left=lambda: over.is_set() or left()
            )

        try:
            while True:
                chunk = within(limits.stall_timeout_s, self.name, read)
                if left():
                    raise UsageError(f"{self.name}: left while it was copied")
                if not chunk:
                    break
                size += len(chunk)
                if size > limits.max_spool_bytes:
                    raise MediaLimitError(
                        self.name,
                        f"over {limits.max_spool_bytes:,} bytes from a source that cannot seek",
                        "a seekable source",
                    )
                with self._told_of_room():
                    spool.write(chunk)
            with self._told_of_room():
                spool.flush()
        except BaseException:
            with suppress(OSError):  # what it still holds has no room either
                spool.close()
            raise
        finally:
            over.set()  # a pipe that says nothing is waited for no longer
        return spool

    @contextmanager
    def _told_of_room(self) -> Iterator[None]:
        """What is wrong with the disk is not the media's fault."""
        try:
            yield
        except OSError as error:
            # asked for anew it would be looked for by writing, and there is no room
            folder = tempfile.tempdir or os.environ.get("TMPDIR") or "the temporary folder"
            raise UsageError(
                f"{self.name}: it cannot seek, and a copy in {folder} cannot be written ({error.strerror}); "
                "expected room there, or TMPDIR set to a folder that has it"
            ) from error


class _View(io.RawIOBase):
    """A handle with a position of its own on a file object that others read too."""

    def __init__(self, shared: IO[bytes], lock: threading.Lock) -> None:
        self._shared, self._lock, self._position = shared, lock, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            with self._lock:
                offset += self._shared.seek(0, io.SEEK_END)
        if offset < 0:
            raise ValueError(f"seek to {offset}; expected 0 or more")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        with self._lock:
            self._shared.seek(self._position)
            data = read_some(self._shared, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
