"""One input, several independent file handles on it: each stream is read by a reader of its own."""

from __future__ import annotations

import io
import tempfile
import threading
from pathlib import Path
from typing import IO, BinaryIO, cast

from resonance.clients.errors import MediaLimitError, NotMediaError

COPY_CHUNK_BYTES = 1 << 20


class MediaSource:
    """A path, bytes or a binary file object that can be opened many times.

    A file object that cannot seek is copied to an anonymous temporary file first.

    Args:
        name: what to call it in results and errors; by default its path.

    Raises:
        NotMediaError: the path cannot be opened, or is empty.
        MediaLimitError: an object that cannot seek holds more than `max_spool_bytes`.
    """

    def __init__(
        self, source: str | Path | bytes | BinaryIO, *, name: str | None, max_spool_bytes: int
    ) -> None:
        self.path = Path(source) if isinstance(source, str | Path) else None
        self.name = name or (str(self.path) if self.path else getattr(source, "name", None)) or "media"
        self.name = str(self.name)
        self._bytes = source if isinstance(source, bytes) else None
        self._shared: IO[bytes] | None = None
        self._spool: IO[bytes] | None = None
        self._lock = threading.Lock()
        if self.path is None and self._bytes is None:
            given = cast("BinaryIO", source)
            self._shared = given if given.seekable() else self._spooled(given, max_spool_bytes)
        if self._size() == 0:
            raise NotMediaError(self.name, "no bytes at all", "a video, sound, picture or subtitle file")

    def open(self) -> BinaryIO:
        """A new handle at the start; close it when done."""
        if self._bytes is not None:
            return io.BytesIO(self._bytes)
        if self._shared is not None:
            view = _View(self._shared, self._lock)
            return cast("BinaryIO", io.BufferedReader(view, COPY_CHUNK_BYTES))
        assert self.path is not None
        try:
            return self.path.open("rb")
        except OSError as error:
            raise NotMediaError(
                self.name, f"it cannot be opened ({error.strerror})", "a file that can be read"
            ) from error

    def close(self) -> None:
        """Delete the temporary copy, if one was made."""
        if self._spool is not None:
            self._spool.close()

    def _size(self) -> int:
        with self.open() as file:
            return file.seek(0, io.SEEK_END)

    def _spooled(self, given: BinaryIO, limit: int) -> IO[bytes]:
        self._spool = tempfile.TemporaryFile(prefix="resonance-")
        size = 0
        while chunk := given.read(COPY_CHUNK_BYTES):
            size += len(chunk)
            if size > limit:
                self._spool.close()
                raise MediaLimitError(
                    self.name, f"over {limit:,} bytes from a source that cannot seek", "a seekable source"
                )
            self._spool.write(chunk)
        return self._spool


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
            data = self._shared.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
