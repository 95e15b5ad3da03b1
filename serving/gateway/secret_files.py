"""Files that hold a secret: who else may read them."""

from __future__ import annotations

import os
import stat


def readable_by_others(state: os.stat_result) -> bool:
    """Whether somebody but this process's user and groups may read the file.

    Its own groups count as itself: Kubernetes gives a pod its secrets by the group of the volume.
    """
    if state.st_mode & stat.S_IROTH:
        return True
    return bool(state.st_mode & stat.S_IRGRP) and state.st_gid not in {os.getegid(), *os.getgroups()}
