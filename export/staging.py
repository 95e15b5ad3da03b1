"""One export into a repository at a time, made beside what stands there before it takes its place."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.export.contract import DESCRIPTOR

#: What names of hidden folders begin with.
PREFIX = ".export-"


class ExportUnderWayError(RuntimeError):
    """Another export into the repository is under way."""


@contextmanager
def only_export(repository: Path) -> Iterator[None]:
    """No other export of this machine into `repository` begins meanwhile; what killed ones left is gone.

    What is derived of an export (8 bits, packages, plans) belongs to it: another one in between would give
    its space.json to files of this one.

    Raises:
        ExportUnderWayError: another export into `repository` is under way.
        OSError: the folder of its descriptor cannot be made or read.
    """
    home = (repository / DESCRIPTOR).parent
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportUnderWayError(
                f"{repository}: another export into it is under way; wait for its end, or name another "
                "--model-repository"
            ) from error
        try:
            for left in repository.glob(f"*/1/{PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)  # another user's stays, and is in nobody's way
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also where a compiler's forked process has it open still
    finally:
        os.close(lock)


@contextmanager
def hidden_folder(version: Path) -> Iterator[Path]:
    """An empty folder of a new name within the folder `version` of a model; it is gone afterwards.

    Of a version folder Triton reads what a config names alone. What is made there can take the place of a
    file in `version` at once, for it is on the same file system.

    Raises:
        OSError: it cannot be made.
    """
    version.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=version, ignore_cleanup_errors=True) as made:
        yield Path(made)
