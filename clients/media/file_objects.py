"""File objects that callers give: what is asked of them, and what is told where they do otherwise."""

from __future__ import annotations

import errno
import inspect
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

from resonance.clients.errors import NotMediaError, UsageError


def binary_file(given: object, name: str) -> BinaryIO:
    """`given`, which has `read`; the other methods of a file may be missing.

    Raises:
        UsageError: it is none, gives text, or is one of async code.
    """
    read = getattr(given, "read", None)
    kind = type(given).__name__
    if isinstance(given, io.TextIOBase) or not callable(read):
        raise UsageError(f"{name}: came {kind}; expected a binary file object")
    if inspect.iscoroutinefunction(read):
        raise UsageError(
            f"{name}: came {kind}, whose read has to be awaited; expected a binary file object whose read "
            "gives bytes, such as the `file` of an upload of FastAPI's, or the bytes themselves"
        )
    return cast(BinaryIO, given)


def name_of(source: object, name: str | None) -> str:
    """What to call a source in results and errors: `name`, its path, what it calls itself, or ``media``.

    Pipes and temporary files call themselves by the number of their descriptor, which says nothing.
    """
    if name or isinstance(source, Path):
        return str(name or source)
    own = source if isinstance(source, str) else getattr(source, "name", None)
    return os.fsdecode(own) if isinstance(own, str | bytes | os.PathLike) and own else "media"


def can_seek(file: BinaryIO, name: str) -> bool:
    """Whether it can be read again from any place; one that does not say cannot.

    Raises:
        NotMediaError: it was closed.
    """
    try:
        return hasattr(file, "seekable") and file.seekable()
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> NotMediaError:
    """What is told of a file whose reading raised `error`."""
    return NotMediaError(
        name, f"it cannot be read ({str(error) or type(error).__name__})", "a file that can be read"
    )


def read_some(file: IO[bytes], size: int) -> bytes:
    """Up to `size` bytes, none at the end alone.

    Raises:
        OSError, ValueError: as the file raised it; or it gave None, StopIteration or something else.
    """
    return _bytes_of(file.read, size)


def read_what_is_there(file: BinaryIO, size: int, name: str) -> bytes:
    """Up to `size` bytes, none at the end alone; waits for no more than the first, where the file can.

    Raises:
        NotMediaError: it cannot be read.
    """
    try:
        return _bytes_of(getattr(file, "read1", file.read), size)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def _bytes_of(read: Callable[[int], object], size: int) -> bytes:
    try:
        data = read(size)
    except StopIteration as ended:  # no future takes it, and whoever awaits one would do so for ever
        raise OSError("its read raised StopIteration, and gave no b'' as at an end") from ended
    if data is None:  # which is no end
        raise BlockingIOError(errno.EAGAIN, "its read does not wait for bytes")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"its read gave {type(data).__name__}, and not bytes")
    return bytes(data)
