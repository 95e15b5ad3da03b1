"""One export into a repository at a time, made beside what stands there before it takes its place."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.export.onnx_export import ExportError


@contextmanager
def only_export(repository: Path) -> Iterator[None]:
    """No other export into `repository` begins meanwhile.

    What is derived of an export (8 bits, packages, plans) belongs to it: another one in between would give
    its space.json to files of this one.

    Raises:
        ExportError: another export into `repository` is under way.
    """
    home = _home(repository)
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(
                f"{repository}: another export into it is under way; wait for its end, or name another "
                "--model-repository"
            ) from error
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also where a compiler's forked process has it open still
    finally:
        os.close(lock)


@contextmanager
def staged(repository: Path) -> Iterator[Path]:
    """An empty folder for an export into `repository`, on the same file system; it is gone afterwards.

    It stands in a version folder, of which Triton reads what a config names alone. One at a time: see
    `only_export`.
    """
    made = _home(repository) / ".export"
    shutil.rmtree(made, ignore_errors=True)  # of one that was killed
    made.mkdir(parents=True)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _home(repository: Path) -> Path:
    return repository / "space_descriptor" / "1"
