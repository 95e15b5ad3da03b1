"""Where an export is made before it takes the place of the one that stands there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.export.onnx_export import ExportError


@contextmanager
def staged(repository: Path) -> Iterator[Path]:
    """An empty folder for an export into `repository`, on the same file system; it is gone afterwards.

    It stands in a version folder, of which Triton reads what a config names alone.

    Raises:
        ExportError: another export into `repository` is under way.
    """
    home = repository / "space_descriptor" / "1"
    home.mkdir(parents=True, exist_ok=True)
    made = home / ".export"
    lock = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(
                f"{repository}: another export into it is under way; wait for its end, or name another "
                "--model-repository"
            ) from error
        shutil.rmtree(made, ignore_errors=True)  # of one that was killed
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
    finally:
        os.close(lock)
