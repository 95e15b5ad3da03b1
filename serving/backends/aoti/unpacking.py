"""Where PyTorch unpacks a package: as large as its weights, and left behind by a process that is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "resonance-aoti-"


class Unpacked:
    """A folder of this process in the system's temporary folder, for as long as this object is kept.

    A lock tells who lives: the kernel drops it however a process ends, and what is found unlocked is removed
    by whoever makes the next folder.

    Raises:
        OSError: none can be made.
    """

    def __init__(self) -> None:
        remove_left()
        self.path, descriptor = _locked_folder()
        weakref.finalize(self, _remove, self.path, descriptor)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """PyTorch unpacks in the folder meanwhile."""
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self.path)
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


def remove_left() -> None:
    """Remove the folders of processes that are gone."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or one in use
            descriptor = _open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            _remove(path, descriptor)


def _locked_folder() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):
            descriptor = _open(path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.is_dir():
                return path, descriptor
            os.close(descriptor)
        # It was taken for one left, in the moment before it was locked


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _remove(path: Path, descriptor: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)
