"""Folders in /tmp that Triton's Python backend makes for packed environments: a killed Triton leaves them.

One for `python` and one for each backend written in Python. They are empty, for no model here comes with an
environment, but a server that is ended hundreds of times leaves hundreds. Their names say nothing of whose
they are: they are known by having appeared while one server started.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

_PLACE = Path("/tmp")  # noqa: S108 (written into Triton, whatever TMPDIR says)
_NAME = re.compile(r"python_env_[A-Za-z0-9]{6}")
_NOTES = "environments"


class Watch:
    """Sees which folders appear while a server starts, and notes them in the server's run folder.

    Args:
        run_folder: goes when the server does.
        backends: how many backends of the server run in Python. Where another number of folders appears,
            another server started at the same time: nothing is noted, for a folder in use must stay.
    """

    def __init__(self, run_folder: Path, backends: int) -> None:
        self._notes = run_folder / _NOTES
        self._backends = backends
        self._before = _folders()

    def note(self) -> None:
        """Call when all models of the server are loaded."""
        appeared = _folders() - self._before
        if len(appeared) != self._backends:
            return
        self._notes.mkdir()
        for folder in appeared:
            (self._notes / folder.name).symlink_to(folder)


def remove(run_folder: Path) -> None:
    """Remove what was noted in `run_folder`, of a server that has ended, where still there and empty."""
    for note in (run_folder / _NOTES).glob("*"):
        with contextlib.suppress(OSError):  # gone, or not empty
            folder = note.readlink()
            if folder.parent == _PLACE and _is_ours(folder):
                folder.rmdir()


def _folders() -> set[Path]:
    return {path for path in _PLACE.glob("python_env_*") if _is_ours(path)}


def _is_ours(path: Path) -> bool:
    """Whether `path` is such a folder, and of this user: anyone may write names into /tmp."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        _NAME.fullmatch(path.name) is not None and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    )
