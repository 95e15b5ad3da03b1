"""Room and names in /dev/shm, through which Triton's Python backend exchanges tensors with its stubs.

One region a stub; regions never shrink, and when the room is used up requests fail for good while the
server still calls itself ready. A server that is killed leaves its regions behind. So the room is
checked at start, and region names say whose they are: ``resonance-<namespace>-<pid>-<start>-<n>-…``,
where the process is the one that supervises the server.

Folders may outlive a container and be shared by several: a pod's volumes do both. What processes another
container has cannot be seen, so each server holds a lock on a file beside its names, which the kernel takes
from it whatever ends it.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from resonance.serving import environments
from resonance.serving.errors import SharedMemoryError
from resonance.serving.repository import Model

SHM = Path("/dev/shm")  # noqa: S108 (the name is the kernel's)

MIB = 1024 * 1024

#: A region's size at start, and by how much it grows: Triton's own defaults, written down.
REGION_BYTES = 1 * MIB
GROWTH_BYTES = 1 * MIB

#: A region holds the batch, its outputs and the next batch already being written.
BATCHES_HELD = 3

_NAME = re.compile(r"(?P<server>resonance-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<start>\d+)-\d+)[-.]")
_counter = itertools.count(1)
_log = logging.getLogger(__name__)


def own_prefix() -> str:
    """A region prefix that no other server has; pass it to Triton, then to `remove_regions`."""
    pid = os.getpid()
    return f"resonance-{_namespace()}-{pid}-{_start_ticks(pid)}-{next(_counter)}-"


def remove_regions(prefix: str, folder: Path = SHM, *, keep: Collection[str] = ()) -> list[str]:
    """Remove every region whose name starts with `prefix`, but for those to `keep`; their names."""
    removed = []
    for path in folder.glob(f"{prefix}*"):
        if path.name in keep:
            continue
        path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed


class Claim:
    """Says that names with `prefix` in `folder` are in use, until it is let go or this process ends."""

    def __init__(self, prefix: str, folder: Path) -> None:
        self._path = _lock_of(prefix.removesuffix("-"), folder)
        # It gets its name when it is held: whoever sees it without a lock takes it for a dead server's.
        self._descriptor, unnamed = tempfile.mkstemp(dir=folder, prefix=".resonance-")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.rename(unnamed, self._path)

    def let_go(self) -> None:
        """Call when nothing of the server is left."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_stale(name: str, folder: Path = SHM) -> bool:
    """Whether `name`, in `folder`, has the prefix of a server whose supervisor is gone.

    Of another process-id namespace that is known by its lock alone: one without a lock may be in use.
    """
    match = _NAME.match(name)
    if match is None:
        return False
    if int(match["namespace"]) == _namespace():
        return _start_ticks(int(match["pid"])) != int(match["start"])
    return _is_let_go(_lock_of(match["server"], folder))


def remove_stale_regions(folder: Path = SHM) -> list[str]:
    """Remove the regions (or, from another `folder`, the run folders) of dead servers; their names."""
    removed = []
    for path in sorted(folder.glob("resonance-*")):  # a server's lock comes after its other names
        if not is_stale(path.name, folder):
            continue
        try:
            environments.remove(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError:  # another user's, theirs to clean; or another start was faster
            continue
        removed.append(path.name)
    if removed:
        _log.info("removed %d leftover(s) in %s of servers that are gone", len(removed), folder)
    return removed


def _lock_of(server: str, folder: Path) -> Path:
    """No name that begins with the server's prefix, whose regions go while it runs."""
    return folder / f"{server}.lock"


def _is_let_go(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # there is none, or it is another user's
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def check_room(models: Iterable[Model]) -> None:
    """Compare the free room with what the models' processes need.

    Room for three single requests a process is required; with less than three of the largest batch
    a warning is logged, for a burst of large requests would then fail for good.

    Raises:
        SharedMemoryError: the required room is not there; the message says how much is missing where.
    """
    required = wanted = processes = 0
    for model in models:
        if model.is_ensemble:
            continue
        item = model.item_bytes()
        batch = item * max(1, model.config.max_batch_size)
        processes += model.instances
        required += model.instances * (REGION_BYTES + BATCHES_HELD * item)
        wanted += model.instances * (REGION_BYTES + BATCHES_HELD * batch)
    free = shutil.disk_usage(SHM).free
    how = "give the container more with `docker run --shm-size=…`, or remount /dev/shm larger"
    if free < required:
        raise SharedMemoryError(
            f"{SHM} has {free // MIB} MiB free, the {processes} model processes need at least "
            f"{required // MIB + 1} MiB; {how}"
        )
    if free < wanted:
        _log.warning(
            "%s has %d MiB free; full batches in all %d model processes need %d MiB, and requests fail "
            "for good once it is used up; %s",
            SHM, free // MIB, processes, wanted // MIB + 1, how,
        )  # fmt: skip


def _namespace() -> int:
    """Identity of this process-id namespace (a container has its own)."""
    return os.stat("/proc/self/ns/pid").st_ino


def _start_ticks(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when there is none, or only its remains.

    With the pid it names a process for good: pids are used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # from field 3 on; the name before may hold spaces
    return None if fields[0] == "Z" else int(fields[19])
