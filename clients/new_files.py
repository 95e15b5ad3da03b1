"""Whether a file that a command is to write can be there: looked at before the work, not after it."""

from __future__ import annotations

from pathlib import Path

from resonance.clients.errors import UsageError


def check_ending(path: Path, named: str, *endings: str) -> None:
    """Refuse an ending that says that something else than what is written is in the file.

    Args:
        named: the option it was given by, for the error.

    Raises:
        UsageError: it is none of `endings`.
    """
    if path.suffix not in endings:
        raise UsageError(f"{named} {path}: ending '{path.suffix}'; expected {' or '.join(endings)}")


def check_new_file(path: Path, named: str = "") -> None:
    """Refuse a path where no file can be.

    Args:
        named: the option it was given by, for the error.

    Raises:
        UsageError: it is a folder, or its folder is not there.
    """
    told = f"{named} {path}".lstrip()
    if path.is_dir():
        raise UsageError(f"{told} is a folder; expected a file, new or to be replaced")
    if not path.parent.is_dir():
        raise UsageError(f"{told}: its folder is not there; expected one that is")
