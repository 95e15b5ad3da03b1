"""What the server's processes use over time, read from /proc; and how busy the rest of the machine was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process or the sum of several, in bytes.

    Attributes:
        resident: RSS; what processes share counts once for each.
        private: RSS without what is mapped from files or shared memory.
    """

    resident: int = 0
    private: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.resident + other.resident, self.private + other.private)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. CPU times are seconds since each process began; `machine_s` is busy time of all cores."""

    at_s: float
    gateway: Memory
    readers: Memory
    reader_count: int
    triton: Memory
    gateway_cpu_s: float
    readers_cpu_s: float
    triton_cpu_s: float
    own_cpu_s: float
    machine_s: float


def children(pid: int) -> Iterator[int]:
    """Living descendants of `pid`, without reading every process of the machine as psutil does."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            found = Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        except OSError:
            continue
        for child in found:
            yield int(child)
            yield from children(int(child))


def memory(pid: int) -> Memory:
    """Of `pid`; nothing where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return Memory()
    resident, shared = int(fields[1]), int(fields[2])
    return Memory(resident * _PAGE_BYTES, (resident - shared) * _PAGE_BYTES)


def unique_bytes(pid: int) -> int:
    """Memory that would be free without `pid`: what it shares with nobody. Slow: a page walk."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU time of `pid` itself, and of its children that have ended and were waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    user, system, children_user, children_system = (int(value) for value in fields[11:15])
    return (user + system) / _TICKS, (children_user + children_system) / _TICKS


def machine_busy_s() -> float:
    """Busy time of all cores since the start of the machine."""
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


@dataclass(slots=True)
class Watch:
    """Samples the processes every `every_s` in a thread, inside ``with``."""

    gateway_pid: int
    triton_pid: int
    every_s: float = 0.5
    samples: list[Sample] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.samples.append(self.look())
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.samples.append(self.look())

    def look(self) -> Sample:
        """One sample, now."""
        gateway_own_s, gateway_ended_s = cpu_s(self.gateway_pid)
        readers, readers_cpu_s, count = Memory(), gateway_ended_s, 0
        for pid in children(self.gateway_pid):
            own_s, ended_s = cpu_s(pid)
            readers, readers_cpu_s, count = readers + memory(pid), readers_cpu_s + own_s + ended_s, count + 1
        triton, triton_cpu_s = Memory(), 0.0
        for pid in (self.triton_pid, *children(self.triton_pid)):
            triton, triton_cpu_s = triton + memory(pid), triton_cpu_s + sum(cpu_s(pid))
        return Sample(
            at_s=time.monotonic(),
            gateway=memory(self.gateway_pid),
            readers=readers,
            reader_count=count,
            triton=triton,
            gateway_cpu_s=gateway_own_s,
            readers_cpu_s=readers_cpu_s,
            triton_cpu_s=triton_cpu_s,
            own_cpu_s=time.process_time(),
            machine_s=machine_busy_s(),
        )

    def _run(self) -> None:
        while not self._ended.wait(self.every_s):
            self.samples.append(self.look())


@dataclass(frozen=True, slots=True)
class CpuShares:
    """Of all cores of the machine, 0 to 1, over a stretch of time. `others`: what is no part of the test."""

    gateway: float
    readers: float
    triton: float
    generator: float
    others: float

    @classmethod
    def between(cls, first: Sample, last: Sample) -> CpuShares:
        """From one sample to a later one."""
        available_s = max(last.at_s - first.at_s, 1e-9) * CORES
        gateway_s = last.gateway_cpu_s - first.gateway_cpu_s
        readers_s = max(last.readers_cpu_s - first.readers_cpu_s, 0.0)  # one killed and not yet waited for
        triton_s = last.triton_cpu_s - first.triton_cpu_s
        own_s = last.own_cpu_s - first.own_cpu_s
        others_s = max(last.machine_s - first.machine_s - gateway_s - readers_s - triton_s - own_s, 0.0)
        shares = (gateway_s, readers_s, triton_s, own_s, others_s)
        return cls(*(round(used_s / available_s, 4) for used_s in shares))


def wait_quiet(most_s: float, others: float = 0.1, look_s: float = 5.0) -> float:
    """Return once the machine was used by no more than the share `others` for `look_s`, or after `most_s`.

    Call it while nothing of the test's own runs.

    Returns:
        The share at the last look.
    """
    ends = time.monotonic() + most_s
    while True:
        before = machine_busy_s()
        time.sleep(look_s)
        share = (machine_busy_s() - before) / look_s / CORES
        if share <= others or time.monotonic() > ends:
            return share


def slope_mib_per_hour(
    samples: Sequence[Sample], values: Sequence[int], hours_per_s: float = 1 / 3600
) -> float:
    """Least-squares slope of `values` in bytes over the samples' times.

    Args:
        hours_per_s: hours that count for each second of the wall clock: of a feed that is sent faster, more.
    """
    if len(samples) < 3:
        return 0.0
    hours = np.array([s.at_s - samples[0].at_s for s in samples]) * hours_per_s
    return float(np.polyfit(hours, np.array(values) / MIB, 1)[0])


def ends_mib(values: Sequence[int]) -> tuple[float, float]:
    """Medians of the first and the last tenth of `values` in bytes, in MiB: one sample may be a spike's. 0 of
    none."""
    if not values:
        return 0.0, 0.0
    window = max(len(values) // 10, 1)
    return float(np.median(values[:window])) / MIB, float(np.median(values[-window:])) / MIB
