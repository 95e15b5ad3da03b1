"""One export into a repository at a time, made beside what stands there before it takes its place."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from resonance.export.onnx_export import ExportError

#: Folders that the export under way here holds, so that a stage of it does not wait for the whole.
_HELD: ContextVar[frozenset[Path]] = ContextVar("_HELD", default=frozenset())


@contextmanager
def only_export(repository: Path) -> Iterator[None]:
    """No other export into `repository` begins meanwhile; within it, this may be entered again.

    What is derived of an export (8 bits, packages, plans) belongs to it: another one in between would give
    its space.json to files of this one.

    Raises:
        ExportError: another export into `repository` is under way.
    """
    home = _home(repository)
    if home in _HELD.get():
        yield
        return
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
        held = _HELD.set(_HELD.get() | {home})
        try:
            yield
        finally:
            _HELD.reset(held)
            fcntl.flock(lock, fcntl.LOCK_UN)  # also where a compiler's forked process has it open still
    finally:
        os.close(lock)


@contextmanager
def staged(repository: Path) -> Iterator[Path]:
    """An empty folder for an export into `repository`, on the same file system; it is gone afterwards.

    It stands in a version folder, of which Triton reads what a config names alone.

    Raises:
        ExportError: another export into `repository` is under way.
    """
    with only_export(repository):
        held = _HELD.set(_HELD.get() - {_home(repository)})  # one within this one would make in its folder
        made = _home(repository) / ".export"
        shutil.rmtree(made, ignore_errors=True)  # of one that was killed
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
            _HELD.reset(held)


def _home(repository: Path) -> Path:
    return repository.resolve() / "space_descriptor" / "1"
