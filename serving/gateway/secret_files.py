"""Files that hold a secret: who else may read them, and whether they changed."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Hashable
from pathlib import Path

_log = logging.getLogger(__name__)
#: A state that was refused is tried again after so long: a disk that answers or a date may have mended it.
RETRY_S = 60.0

#: Inode, size, and times of change of the content and of the rights of a file; None: it is not there.
Signature = tuple[int, int, int, int] | None


def signature_of(path: Path) -> Signature:
    """What tells one state of a file from another."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class Refusals:
    """Of files that are looked at often: when a state that could not be used is tried again, and told.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._state: Hashable = None
        self._until_s = -1.0
        self._told = ""

    def stands(self, state: Hashable) -> bool:
        """Whether `state` was refused, and is not to be tried again yet."""
        return state == self._state and self._clock() < self._until_s

    def refuse(self, state: Hashable, why: str) -> bool:
        """`state` cannot be used. True where that is news."""
        news = (state, why) != (self._state, self._told)
        self._state, self._told, self._until_s = state, why, self._clock() + RETRY_S
        return news


def warn_of_readers(path: Path, what: str) -> None:
    """Log that others may read the file `path`, which holds `what`.

    Groups of this process count as itself: Kubernetes gives a pod its secrets by the group of the volume.
    """
    try:
        state = path.stat()
    except OSError:  # gone, as what changes says
        return
    ours = {os.getegid(), *os.getgroups()}
    if state.st_mode & stat.S_IROTH or (state.st_mode & stat.S_IRGRP and state.st_gid not in ours):
        _log.warning("%s: %s can be read by others; chmod 600 it", path, what)
