"""Time of device work: warmed up, synchronised, the median of rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

WARM_UP_CALLS = 3
ROUNDS = 5


@dataclass(slots=True)
class Deadline:
    """How long a part may still take."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds left, below zero when it has passed."""
        return self.seconds - (time.monotonic() - self.started)

    def passed(self, needed_s: float = 0.0) -> bool:
        """Whether less than `needed_s` is left."""
        return self.left() < needed_s


def synchronise(device: str) -> None:
    """Wait for everything that was started on `device`."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_a_call(call: Callable[[], Any], device: str, *, round_s: float) -> float:
    """Median over `ROUNDS` rounds of at least `round_s` each, a round being calls without a pause.

    On the GPU a round is timed by events on the stream, so the host's own time does not count as long as
    it keeps ahead; where it does not (small batches, many launches), it is part of what a caller sees.
    """
    for _ in range(WARM_UP_CALLS):
        call()
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    calls = max(1, round(round_s / max(time.perf_counter() - started, 1e-6)))
    return statistics.median(_round(call, device, calls) for _ in range(ROUNDS))


def _round(call: Callable[[], Any], device: str, calls: int) -> float:
    if device != "cuda":
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - started) / calls
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / calls


@dataclass(slots=True)
class StageClock:
    """Adds up device time by stage; on the GPU by events, read once at the end."""

    device: str
    seconds: dict[str, float] = field(default_factory=dict)
    _pending: list[tuple[str, Any, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is started inside."""
        if self.device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            yield
            end.record()
            self._pending.append((name, begin, end))
            return
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def read(self) -> dict[str, float]:
        """Seconds by stage so far; waits for the device."""
        synchronise(self.device)
        for name, begin, end in self._pending:
            self.seconds[name] = self.seconds.get(name, 0.0) + begin.elapsed_time(end) / 1e3
        self._pending.clear()
        return dict(self.seconds)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie, the next higher one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
