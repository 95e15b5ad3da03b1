"""The folder of uploads, looked at before the first comes."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from resonance.serving.errors import GatewayConfigError

#: File systems whose files are memory.
MEMORY = frozenset(("tmpfs", "ramfs"))
_MOUNTS = Path("/proc/self/mountinfo")
_DEVICE_AT = 2  # of the fields of a mount's line; the type of its file system is the first behind the dash

_log = logging.getLogger(__name__)


def check_spool_folder(folder: Path, max_bytes: int) -> None:
    """Refuse a folder that can keep no upload; warn of one in memory, or without room for `max_bytes`.

    Raises:
        GatewayConfigError: no file can be made in it.
    """
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise GatewayConfigError(
            f"spool folder {folder}: no file can be made there ({error.strerror}); expected one for uploads"
        ) from error
    free_bytes = shutil.disk_usage(folder).free
    if (kind := file_system_of(folder)) in MEMORY:
        _log.warning(
            "spool folder %s: on a %s, so uploads lie in memory, up to --max-spool-bytes (%s); give "
            "--spool-folder a folder on a disk, or a lower bound",
            *(folder, kind, f"{max_bytes:,}"),
        )
    elif free_bytes < max_bytes:
        _log.warning(
            "spool folder %s: %s bytes are free, fewer than --max-spool-bytes (%s); give --spool-folder a "
            "folder with more room, or a lower bound",
            *(folder, f"{free_bytes:,}", f"{max_bytes:,}"),
        )


def file_system_of(folder: Path) -> str:
    """The type of the file system that `folder` lies on, such as ``tmpfs``; empty where it cannot be told."""
    device = folder.stat().st_dev
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for mount in mounts:
        where, _, what = mount.partition(" - ")
        if where.split()[_DEVICE_AT] == f"{os.major(device)}:{os.minor(device)}":
            return what.split()[0]
    return ""
