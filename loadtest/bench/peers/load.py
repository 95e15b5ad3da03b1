"""One round: so many callers that each ask again as soon as they are answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from resonance.serving.process import cpu_seconds

Vectors = npt.NDArray[np.float32]
#: Left out at the start of a round, while the first answers are on their way.
RAMP_S = 0.5


@dataclass(frozen=True, slots=True)
class Round:
    """What one contender did in one round.

    Attributes:
        per_s: items answered a second.
        p50_ms, p99_ms: how long one caller waited for one item.
        server_cpu_ms, client_cpu_ms: a processor's time for one item; 0 where there is no such side.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    client_cpu_ms: float


class Contender(Protocol):
    """Somebody who encodes the workload's items; started already."""

    name: str

    async def measure(self, concurrency: int, seconds: float) -> Round:
        """A round of `seconds` with `concurrency` items asked for at any time."""
        ...

    async def vectors(self, count: int) -> Vectors:
        """Of the first `count` items, each asked for alone, fp32 [count, width]."""
        ...


async def closed_loop(
    send: Callable[[int], Awaitable[object]], pid: int, concurrency: int, seconds: float
) -> Round:
    """Round of a server with process `pid`; `send(i)` asks for item i and raises where it fails.

    Throughput is of what ended within the `seconds` after the ramp, processor times are of all that ended.
    """
    took_s: list[tuple[float, float]] = []  # (when it ended, how long it took)
    numbers = itertools.count()
    began = time.perf_counter() + RAMP_S
    ends = began + seconds

    async def caller() -> None:
        while (asked := time.perf_counter()) < ends:
            await send(next(numbers))
            ended = time.perf_counter()
            took_s.append((ended, ended - asked))

    server, client = cpu_seconds(pid), time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    server, client = cpu_seconds(pid) - server, time.process_time() - client
    within = [took for ended, took in took_s if began <= ended < ends]
    if not within:
        raise RuntimeError(
            f"no item of {concurrency} callers was answered within {seconds:g} s; longer rounds?"
        )
    p50, p99 = np.percentile(within, (50, 99)) * 1e3
    return Round(
        per_s=len(within) / seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
        server_cpu_ms=server / len(took_s) * 1e3,
        client_cpu_ms=client / len(took_s) * 1e3,
    )
