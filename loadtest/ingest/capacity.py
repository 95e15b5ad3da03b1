"""How many servers and workers a night of ingestion needs: a model of measured costs, and its test.

Operational laws of closed queueing networks (Denning and Buzen, The Operational Analysis of Queueing Network
Models, 1978): with N titles side by side, each `alone_s` long when it has the machine to itself, and D the
CPU seconds that a title takes of its busiest station spread over that station's cores,
throughput <= min(N / alone_s, 1 / D).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import av
import psutil

from resonance.loadtest.ingest.costs import job_cpu_s, start_cpu_s
from resonance.loadtest.ingest.kills import Server


@dataclass(frozen=True, slots=True)
class Costs:
    """Of the average title of a library.

    Attributes:
        media_s: its length. alone_s: wall clock when it is the only one under way.
        client_cpu_s, server_cpu_s: of the job and of the server with all its processes.
    """

    media_s: float
    alone_s: float
    client_cpu_s: float
    server_cpu_s: float


def throughput_bound(
    costs: Costs, side_by_side: int, *, server_cores: int, client_cores: int, same_machine: bool
) -> float:
    """Titles a second at most. `same_machine`: client and server share `server_cores`."""
    if same_machine:
        demands_s = [(costs.client_cpu_s + costs.server_cpu_s) / server_cores]
    else:
        demands_s = [costs.server_cpu_s / server_cores, costs.client_cpu_s / client_cores]
    return min(side_by_side / costs.alone_s, 1 / max(demands_s))


def needed(costs: Costs, hours: float, night_h: float, *, cores: int, use: float = 0.8) -> tuple[int, int]:
    """Servers of `cores` cores, and titles side by side, for `hours` of media in a night.

    Args:
        use: share of the cores that is counted on; the rest is for what is uneven.
    """
    titles_per_s = hours / night_h / costs.media_s
    servers = math.ceil(titles_per_s * costs.server_cpu_s / (cores * use))
    return servers, math.ceil(titles_per_s * costs.alone_s / use)


@dataclass(frozen=True, slots=True)
class Run:
    """A job with so many titles side by side. `bound`: what the model says, titles a second."""

    side_by_side: int
    titles_per_s: float
    bound: float


def measure(library: Path, folder: Path, servers: list[Server], sides: list[int]) -> tuple[Costs, list[Run]]:
    """Costs with one title at a time, then jobs with `sides` side by side, each from the beginning.

    Args:
        servers: started; several share the work.
    """
    titles = sum(1 for _ in library.iterdir())
    address = "triton://" + ",".join(server.address.removeprefix("triton://") for server in servers)

    def job(side: int, name: str) -> tuple[float, float, float]:
        """Wall clock, CPU of the client, CPU of the servers, in seconds."""
        before_s = sum(_cpu_s(server) for server in servers)
        start_s = time.monotonic()
        client_s = job_cpu_s(
            [str(library)], f"{folder}/{name}", address, folder / f"{name}.sqlite", "--concurrency", str(side)
        )
        wall_s = time.monotonic() - start_s
        return wall_s, client_s, sum(_cpu_s(server) for server in servers) - before_s

    job(4, "warm")
    idle_wall_s = _start_wall_s()
    wall_s, client_s, server_s = job(1, "alone")
    costs = Costs(
        media_s=media_s(library),
        alone_s=(wall_s - idle_wall_s) / titles,
        client_cpu_s=(client_s - start_cpu_s()) / titles,
        server_cpu_s=server_s / titles,
    )
    cores = psutil.cpu_count() or 1
    runs = [Run(1, titles / (wall_s - idle_wall_s), 1 / costs.alone_s)]
    for side in sides:
        wall_s, _, _ = job(side, f"side-{side}")
        bound = throughput_bound(costs, side, server_cores=cores, client_cores=cores, same_machine=True)
        runs.append(Run(side, titles / (wall_s - idle_wall_s), bound))
    return costs, runs


def media_s(library: Path) -> float:
    """Average length of a title; pictures and texts count as nothing."""
    lengths = []
    for path in library.iterdir():
        if path.suffix in (".png", ".txt"):
            lengths.append(0.0)
            continue
        with av.open(str(path)) as file:
            lengths.append((file.duration or 0) / av.time_base)
    return sum(lengths) / len(lengths)


def _start_wall_s() -> float:
    start_s = time.monotonic()
    start_cpu_s()
    return time.monotonic() - start_s


def _cpu_s(server: Server) -> float:
    process = psutil.Process(server.pid)
    spent = [p.cpu_times() for p in (process, *process.children(recursive=True))]
    return float(sum(s.user + s.system for s in spent))
