"""CPU and memory of the server's processes, and CPU of the one that sends, while a run goes on."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from resonance.loadtest.gateway.usage import CpuShares, Sample, Watch, children, cpu_s, memory
from resonance.serving import process

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all processes: their RSS in bytes, by process id."""

    sample: Sample
    resident: dict[int, int]


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of one process: its median RSS in the first window and in the last, in bytes."""

    name: str
    pid: int
    first: float
    last: float

    @property
    def share(self) -> float:
        """By how much of the first it grew."""
        return self.last / self.first - 1


class Servers:
    """Looks every second in a thread, inside ``with``.

    Args:
        generator_pid: the process that sends; its CPU time is the tool's.
    """

    def __init__(self, gateway_pid: int, triton_pid: int, generator_pid: int) -> None:
        self._watch = Watch(gateway_pid, triton_pid)
        self._generator_pid = generator_pid
        self.looks: list[Look] = []
        self.names: dict[int, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="servers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, start_s: float, end_s: float) -> list[Look]:
        """Looks from one time of the monotonic clock to another."""
        return [each for each in self.looks if start_s <= each.sample.at_s <= end_s]

    def cpu(self, start_s: float, end_s: float) -> CpuShares | None:
        """Shares of all cores between two times; None where nobody looked twice."""
        looks = self.between(start_s, end_s)
        return CpuShares.between(looks[0].sample, looks[-1].sample) if len(looks) > 1 else None

    def growth(self, first: tuple[float, float], last: tuple[float, float]) -> list[Growth]:
        """Of every process that lived from the one window of the monotonic clock into the other."""
        before, after = (_medians(self.between(*window)) for window in (first, last))
        return [
            Growth(self.names.get(pid, "?"), pid, before[pid], after[pid])
            for pid in sorted(before.keys() & after.keys())
            if before[pid] > 0
        ]

    def _run(self) -> None:
        while True:
            self.looks.append(self._look())
            if self._ended.wait(EVERY_S):
                return

    def _look(self) -> Look:
        gateway, triton = self._watch.gateway_pid, self._watch.triton_pid
        found = [gateway, triton, *children(gateway), *children(triton)]
        if any(pid not in self.names for pid in found):
            self._name(gateway, triton)
        sent_s, _ = cpu_s(self._generator_pid)
        sample = replace(self._watch.look(), own_cpu_s=sent_s)
        return Look(sample, {pid: memory(pid).resident for pid in found})

    def _name(self, gateway: int, triton: int) -> None:
        models = process.stubs(triton)
        self.names |= {gateway: "gateway", triton: "tritonserver"}
        for pid in children(gateway):
            self.names.setdefault(pid, f"reader ({_command(pid)})")
        for pid in children(triton):
            self.names.setdefault(pid, models.get(pid) or _command(pid))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _medians(looks: Sequence[Look]) -> dict[int, float]:
    """By process that was there at every one of the looks."""
    seen: defaultdict[int, list[int]] = defaultdict(list)
    for look in looks:
        for pid, resident in look.resident.items():
            if resident:
                seen[pid].append(resident)
    return {pid: float(np.median(values)) for pid, values in seen.items() if len(values) == len(looks)}
