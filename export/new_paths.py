"""Whether what a command is to write can be there: looked at before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from resonance.clients.errors import UsageError
from resonance.clients.new_files import check_new_file


def new_folder(path: Path, named: str) -> None:
    """Make a folder where there is none yet.

    Args:
        named: the option it was given by, for the error.

    Raises:
        UsageError: none can be there, or nothing may be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{named} {path}: no folder can be made there ({error.strerror}); expected a folder, new or there"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"{named} {path}: nothing may be written there; expected a folder of yours")


def new_file(path: Path, named: str) -> None:
    """The same of the folder of a file that is to be written, and that no folder has the file's name."""
    new_folder(path.parent, named)
    check_new_file(path, named)
