"""What the reading processes ask the kernel for, seen from outside: strace on a run of `demux`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What would reach a file, an address or a program; `seccomp` shows when a process was sealed, `clone` which
#: threads belong to it.
CALLS = (
    "open,openat,openat2,creat,socket,socketpair,connect,bind,accept4,execve,execveat,fork,vfork,seccomp,prctl,"
    "clone,clone3"
)
_LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<call>\w+\(.*|<\.\.\. \w+ resumed>.*)$")
#: With rules; libseccomp also asks without, to see what the kernel can do, and is refused.
_SEALED = re.compile(
    r"^(seccomp\(SECCOMP_SET_MODE_FILTER|prctl\(PR_SET_SECCOMP, SECCOMP_MODE_FILTER), .*\{(?!.*= -1)"
)
_CHILD = re.compile(r"= (\d+)$")
#: What is asked for inside and reaches nothing: threads and their names.
_HARMLESS = ("prctl(PR_SET_NAME", "clone(", "clone3(", "seccomp(", "<... ", "cloned ")
_CLONED = "cloned "
_ENDED = re.compile(r"^(\d+)\s+\+\+\+ ")


@dataclass(frozen=True, slots=True)
class Seen:
    """sealed: processes that were; attempts: what was asked for in them after that, how often, by call."""

    sealed: int
    attempts: Counter[str]


def attempts_after_sealing(lines: Sequence[str]) -> Seen:
    """Read a log of ``strace -f`` of `CALLS`."""
    calls = list(_calls(lines))
    process_of = _processes(calls)
    sealed: set[str] = set()
    attempts: Counter[str] = Counter()
    for pid, call in calls:
        process = process_of.get(pid, pid)
        if _SEALED.match(call):
            sealed.add(process)
        elif process in sealed and not call.startswith(_HARMLESS):
            attempts[call[:200]] += 1
    return Seen(len(sealed), attempts)


def _calls(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(thread, call). A number that is given out again after its thread ended counts as another thread."""
    ended: Counter[str] = Counter()
    for line in lines:
        if (gone := _ENDED.match(line)) is not None:
            ended[gone[1]] += 1
        elif (made := _LINE.match(line)) is not None:
            yield _thread(made["pid"], ended), made["call"]
            child = _CHILD.search(line)
            if child is not None and "clone" in made["call"]:
                yield _thread(made["pid"], ended), f"{_CLONED}{_thread(child[1], ended)}"


def _thread(number: str, ended: Counter[str]) -> str:
    return f"{number}.{ended[number]}"


def _processes(calls: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The process of each thread that is not its first one."""
    process_of: dict[str, str] = {}
    begun: dict[str, bool] = {}  # by thread: whether the clone that it waits for is one of a thread
    for pid, call in calls:
        if call.startswith(("clone(", "clone3(")):
            begun[pid] = "CLONE_THREAD" in call
        elif call.startswith(_CLONED) and begun.get(pid):
            process_of[call.removeprefix(_CLONED)] = process_of.get(pid, pid)
    return process_of


def trace_demux(*, inputs: int, seed: int, media: Path, repository: Path) -> Seen | None:
    """Run `demux` under strace; None where there is no strace or it may not trace here.

    Raises:
        RuntimeError: the run did not come to its end, so that what was seen says nothing.
    """
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.TemporaryDirectory(prefix="resonance-strace-") as folder:
        log = Path(folder) / "log"
        run = [
            sys.executable,
            "-m",
            "resonance.loadtest.fuzz",
            "demux",
            f"--inputs={inputs}",
            f"--seed={seed}",
        ]
        run += [f"--media={media}", f"--repository={repository}", f"--out={folder}"]
        command = [strace, "-f", "-q", "-s", "200", "-o", str(log), "-e", f"trace={CALLS}", *run]
        ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        if ended.returncode not in (0, 1):
            if lines:
                raise RuntimeError(f"demux under strace ended with {ended.returncode}; expected 0 or 1")
            return None
        return attempts_after_sealing(lines)
