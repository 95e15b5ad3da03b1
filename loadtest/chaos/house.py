"""The server under test from outside: its processes, what can be killed, and what is left lying about."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from resonance.serving import launch, process
from resonance.serving.shm import SHM

START_TIMEOUT_S, STOP_TIMEOUT_S = 180.0, 30.0
LOOK_S = 0.1
GATEWAY = "resonance.serving.gateway"
#: In the environment of all that a run starts, so that what outlives its parent is found as well.
MARK = "RESONANCE_CHAOS_RUN"


class HouseError(Exception):
    """The server did not start, or is not there any more."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is there when nothing is under way. Two looks at a sound server are equal.

    Attributes:
        processes: how many of each kind: triton, gateway, a stub by its model, others by their module.
        strays: processes of this run outside the server's tree.
        regions: shared memory regions by server start, whose number only grows; so only their counts.
        folders: temporary folders of the server.
        spooled: files in the spool folder.
        ready: whether the ready file says that all models serve.
    """

    processes: tuple[tuple[str, int], ...]
    strays: tuple[str, ...]
    regions: tuple[int, ...]
    folders: int
    spooled: tuple[str, ...]
    ready: bool

    def differences(self, found: Shape) -> list[str]:
        """What `found` has otherwise, in words."""
        told = []
        for name in ("processes", "strays", "regions", "folders", "spooled", "ready"):
            expected, came = getattr(self, name), getattr(found, name)
            if expected != came:
                told.append(f"{name}: {came}; expected {expected}")
        return told


class House:
    """A running server; use as an async context manager.

    Args:
        folder: for its log, its spool and its ready file.

    Attributes:
        address: host:port of the gateway.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        self.address = ""
        self._repository, self._folder = repository, folder
        self._spool = folder / "spool"
        self._ready_file = folder / "ready"
        self._mark = uuid.uuid4().hex
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._spool.mkdir(parents=True, exist_ok=True)
        with (self._folder / "serve.log").open("ab") as log:
            self._process = started = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid())),  # it dies with us
                *(sys.executable, "-m", "resonance.loadtest.chaos.served", str(self._repository)),
                *("--spool", str(self._spool), "--log-file", str(self._folder / "triton.log")),
                *("--ready-file", str(self._ready_file)),
                env=self.environment(),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert started.stdout is not None
        try:
            line = await asyncio.wait_for(started.stdout.readline(), START_TIMEOUT_S)
        except TimeoutError:
            line = b""
        words = dict(w.split("=", 1) for w in line.decode().split() if "=" in w)
        if "gateway" not in words:
            await self.__aexit__()
            raise HouseError(f"the server did not become ready; see {self._folder / 'serve.log'}")
        self.address = words["gateway"]
        return self

    async def __aexit__(self, *error: object) -> None:
        ending = self._process
        if ending is None or ending.returncode is not None:
            return
        ending.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(ending.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            ending.kill()
            await ending.wait()

    def environment(self) -> dict[str, str]:
        """For a process that belongs to this run."""
        return dict(os.environ) | {MARK: self._mark}

    def alive(self) -> None:
        """Check that the supervisor lives.

        Raises:
            HouseError: it ended.
        """
        if self._process is None or self._process.returncode is not None:
            raise HouseError(f"the server ended by itself; see {self._folder / 'serve.log'}")

    def pid_of(self, kind: str) -> int:
        """Process id of ``triton`` or ``gateway``, or of the stub of the model `kind`.

        Raises:
            HouseError: there is none just now.
        """
        for found in self._tree():
            if found.kind == kind:
                return found.process.pid
        raise HouseError(f"no process of {kind}")

    def family(self, pid: int) -> list[psutil.Process]:
        """The process `pid` and what it started: none of them may live on when it was killed."""
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def shape(self) -> Shape:
        """How things are."""
        tree = self._tree()
        known = {found.process.pid for found in tree}
        strays = [f"{pid} {name}" for pid, name in self._marked() if pid not in known]
        return Shape(
            processes=tuple(sorted(Counter(found.kind for found in tree).items())),
            strays=tuple(sorted(strays)),
            regions=self._regions(),
            folders=len(self._temporary()),
            spooled=tuple(sorted(p.name for p in self._spool.rglob("*"))),
            ready=self._ready_file.exists(),
        )

    async def settled(self, expected: Shape, timeout_s: float) -> Shape:
        """The shape once it equals `expected`, else as it is after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.alive()
            found = await asyncio.to_thread(self.shape)
            if found == expected or time.monotonic() > deadline:
                return found
            await asyncio.sleep(LOOK_S)

    def leftovers(self) -> list[str]:
        """What is there of a server that was stopped: nothing may be."""
        left = [f"process {pid} {name}" for pid, name in self._marked()]
        left += [str(path) for path in SHM.glob(f"resonance-*-{self._pid}-*")]
        left += [str(path) for path in self._temporary()]
        return left + [str(path) for path in self._spool.rglob("*")]

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _tree(self) -> list[_Found]:
        """The supervisor and all that descends from it, the dead left out."""
        found = []
        for each in self.family(self._pid):
            with contextlib.suppress(psutil.Error):
                if each.status() != psutil.STATUS_ZOMBIE:
                    found.append(_Found(each, self._kind(each)))
        return found

    def _kind(self, found: psutil.Process) -> str:
        if found.pid == self._pid:
            return "supervisor"
        words = found.cmdline()
        program = os.path.basename(words[0]) if words else ""
        if program == "tritonserver":
            return "triton"
        if program == "triton_python_backend_stub":
            return process.stubs(found.ppid()).get(found.pid, "stub")
        module = words[words.index("-m") + 1] if "-m" in words[:-1] else program
        return "gateway" if module == GATEWAY else module

    def _temporary(self) -> list[Path]:
        return list(Path(tempfile.gettempdir()).glob(f"resonance-*-{self._pid}-*"))

    def _regions(self) -> tuple[int, ...]:
        """How many regions each start of Triton has left, in order; a sound server has one entry."""
        names = [path.name for path in SHM.glob(f"resonance-*-{self._pid}-*")]
        return tuple(count for _, count in sorted(Counter(n.split("-")[4] for n in names).items()))

    def _marked(self) -> Iterator[tuple[int, str]]:
        """Living processes with the mark of this run in their environment, ourselves left out."""
        mark = f"{MARK}={self._mark}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, psutil.Error):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    name = " ".join((entry / "cmdline").read_text().split("\0"))
                    if name:  # a zombie has none
                        yield int(entry.name), name[:120]


@dataclass(frozen=True, slots=True)
class _Found:
    process: psutil.Process
    kind: str
