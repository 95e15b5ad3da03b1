"""File objects that callers give: what is asked of them, and what is told where they do otherwise."""

from __future__ import annotations

import errno
import inspect
import io
import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

from resonance.clients.errors import NotMediaError, UsageError

#: How often who waits for a pipe looks whether anybody still wants it.
LOOK_S = 0.1


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


def is_pipe(path: Path) -> bool:
    """Whether what is at `path` may wait for a sender; of what cannot be looked at, opening it says more."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


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


def read_what_is_there(
    file: BinaryIO, size: int, name: str, *, left: Callable[[], bool] = lambda: False
) -> bytes:
    """Up to `size` bytes, none at the end alone; waits for no more than the first, where the file can.

    Args:
        left: whether nobody waits for them any more; asked every `LOOK_S` while a pipe gives nothing. None is
            read then.

    Raises:
        NotMediaError: it cannot be read.
    """
    try:
        if not _waited_for(file, left):
            return b""
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


def _waited_for(file: BinaryIO, left: Callable[[], bool]) -> bool:
    """Wait until a read of a pipe gives something, or its end; False where it was left before.

    Who sits in a read of a buffered file holds its lock: nobody can close it, and the interpreter, which
    closes standard input as it ends, aborts. So the waiting is done beside the file. Of what is no file of
    the system's nothing is known before it is read.
    """
    # what is buffered already comes with what follows it: nothing tells of it without reading on
    if not (isinstance(file, io.BufferedReader) and type(file.raw) is io.FileIO and hasattr(select, "poll")):
        return True
    own = os.dup(file.fileno())  # its number is not given to another file when that one is closed
    try:
        poll = select.poll()
        poll.register(own, select.POLLIN)
        while not left():
            if poll.poll(LOOK_S * 1000):
                return not left()
        return False
    finally:
        os.close(own)
