"""The SDK in a process of its own, for as long as a bench asks it for titles: what it costs once it runs.

It prints a line when it is connected and has embedded one title; then it reads one `Order` a line and answers
with one `Report` a line. So starting Python and loading the libraries are in none of the figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding

STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """`paths` in their order, `concurrent` of them at once."""

    paths: list[str]
    concurrent: int = 1
    sampling: str = "keyframes"


@dataclass(frozen=True, slots=True)
class Report:
    """Of one order. `cpu_s` is the process's own, `peak_mb` its largest resident set while it worked."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    media_s: float
    segments: int
    sampled_by: dict[str, int] = field(default_factory=dict)


class SdkProcess:
    """A context manager.

    Args:
        server: as for `Embedder`.
        first: a short title, embedded before anything is measured.
    """

    def __init__(self, server: str, first: Path) -> None:
        self._server, self._first = server, first
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "resonance.loadtest.bench.sdk_process", self._server]
        self._process = subprocess.Popen(
            [*command, str(self._first)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def embed(self, paths: Sequence[Path], *, concurrent: int = 1, sampling: str = "keyframes") -> Report:
        """All of `paths`.

        Raises:
            RuntimeError: the process ended; what it said stands on stderr.
        """
        assert self._process.stdin is not None
        order = Order([str(path) for path in paths], concurrent, sampling)
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        return Report(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"the SDK's process against {self._server} ended with {code}")
        return line


async def _serve(server: str, first: str) -> None:
    async with Embedder(server) as embedder:
        await embedder.embed(first)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            report = await _report(embedder, Order(**json.loads(line)))
            print(json.dumps(asdict(report)), flush=True)


async def _report(embedder: Embedder, order: Order) -> Report:
    _forget_peak()
    waiting, titles = deque(enumerate(order.paths)), list[MediaEmbedding]()

    async def worker() -> None:
        while waiting:
            number, path = waiting.popleft()
            # a name of its own, so that no title is taken for one that is there already
            name = f"{number}-{time.monotonic_ns()}-{os.path.basename(path)}"
            titles.append(await embedder.embed(path, sampling=order.sampling, name=name))

    started, cpu_s = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(order.concurrent):
            group.create_task(worker())
    return Report(
        wall_s=time.monotonic() - started,
        cpu_s=time.process_time() - cpu_s,
        peak_mb=_peak_mb(),
        media_s=sum(title.duration_s or 0.0 for title in titles),
        segments=sum(len(title.segments) for title in titles),
        sampled_by=dict(Counter(str(s.sampled_by) for title in titles for s in title.segments)),
    )


def _forget_peak() -> None:
    """The kernel's peak of this process starts again from what is resident now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM; expected a Linux kernel that tells it")


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:3]))
