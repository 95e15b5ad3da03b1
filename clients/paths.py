"""Whether paths that people give are there. Python 3.11 raises where the system will not tell."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether a file is there. None is where the system cannot look: below a folder that may not be searched,
    or under a name that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name with a zero byte
        return False


def is_folder(path: Path) -> bool:
    """The same of a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
