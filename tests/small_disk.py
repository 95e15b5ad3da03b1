"""Disks on which little or nothing fits."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond `size_bytes` meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


#: The device that is /dev/full: every write finds no room.
_FULL = os.makedev(1, 7)


def full_disk(path: Path) -> Path:
    """Make `path` a file where every write finds the disk full; for root never the system's own device.

    Root may remove that one, and what is tested here is what happens to files: a device of one's own can be
    lost. Who may make none cannot remove the system's, to which `path` links then.
    """
    with suppress(PermissionError):
        os.mknod(path, stat.S_IFCHR | 0o666, _FULL)
        with suppress(PermissionError), path.open("rb"):  # not where devices are not looked at
            return path
        path.unlink()
    there = Path("/dev/full").stat()
    assert stat.S_ISCHR(there.st_mode), "/dev/full is no device: something took its place on this machine"
    assert there.st_rdev == _FULL
    path.symlink_to("/dev/full")
    return path
