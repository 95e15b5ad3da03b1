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
        UsageError: it is a folder, its folder is not there or may not be searched, or its name is too long.
    """
    told = f"{named} {path}".lstrip()
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise UsageError(f"{told}: no file can be there ({error.strerror}); expected another path") from error
    if is_folder:
        raise UsageError(f"{told} is a folder; expected a file, new or to be replaced")
    if not has_folder:
        raise UsageError(f"{told}: its folder is not there; expected one that is")
