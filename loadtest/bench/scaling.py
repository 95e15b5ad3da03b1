"""How cost and throughput hold as titles grow longer and as more of them come at once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from resonance.loadtest.bench.end_to_end import run_command
from resonance.loadtest.bench.matrix import Run, run, warm_up_title
from resonance.loadtest.bench.sdk_process import Report, SdkProcess
from resonance.loadtest.films import HEIGHT, Film, film, loop, streamed
from resonance.loadtest.gateway.stack import Stack
from resonance.serving.server import TritonServer

MINUTES = (1, 10, 60, 180)
#: Short titles are embedded again and again until so much was embedded: the kernel counts in steps of 10 ms.
LEAST_MINUTES = 10
LEVELS = (1, 2, 4, 8, 16, 32, 64)
TITLES = 64
ROUNDS = 2
#: Of a gateway whose callers are batches: they wait for their turn instead of being told to come again.
BATCH_LIMITS = {"max-queued": 64.0, "queue-timeout-s": 600.0}
#: Cost of an hour of video at any length over that at the cheapest length.
COST_BAR = 1.10
#: Throughput of the most concurrent titles over the best.
THROUGHPUT_BAR = 0.95


class Way(StrEnum):
    """How titles come in: read by the client, which asks Triton, or uploaded to a gateway.

    With the gateway's default limits most of many uploads are refused and come again; that keeps those let in
    fast, and is no way to send batches.
    """

    SDK = "sdk"
    GATEWAY = "gateway"
    GATEWAY_DEFAULTS = "gateway-defaults"


@dataclass(frozen=True, slots=True)
class LengthRow:
    """Medians over the rounds of one length.

    `cost`: CPU seconds of client and server for an hour of video, over those at the cheapest length of the
    same round. `lowest_cost`, `highest_cost`: of the rounds. `start_up_s`: starting the command once costs as
    much as so many seconds of video. `client_peak_mb`: the client's largest resident set.
    """

    minutes: int
    titles: int
    rounds: int
    cost: float
    lowest_cost: float
    highest_cost: float
    per_core: float
    start_up_s: float
    client_peak_mb: float
    segments: int
    bar: float
    met: bool


@dataclass(frozen=True, slots=True)
class ConcurrencyRow:
    """Medians over the rounds of one number of titles at once.

    `of_best`: seconds of media for each second, over the best of all numbers in the same round.
    `times_real_time`: of all titles together. `met` None for numbers without a bar.
    """

    through: Way
    concurrent: int
    titles: int
    rounds: int
    of_best: float
    lowest_of_best: float
    times_real_time: float
    client_peak_mb: float
    bar: float | None
    met: bool | None


def measure_lengths(
    server: TritonServer,
    folder: Path,
    *,
    height: int = HEIGHT,
    minutes: Sequence[int] = MINUTES,
    least_minutes: int = LEAST_MINUTES,
    rounds: int = ROUNDS,
) -> list[LengthRow]:
    """All lengths in turn, `rounds` times over, each in a client process of its own."""
    paths = {one: film(streamed(height=height, minutes=one), folder) for one in minutes}
    times = {one: max(least_minutes // one, 1) for one in minutes}
    first = warm_up_title(folder)
    start_ups = [run_command(first, server, "keyframes").client_cpu_s for _ in range(rounds)]
    runs: dict[int, list[Run]] = {one: [] for one in minutes}
    for _ in range(rounds):
        for one, path in paths.items():
            # a fresh one each time: what one title left behind is no peak of another
            with SdkProcess(server.grpc_address, first) as sdk:
                runs[one].append(run(server, sdk, [path] * times[one]))
    best = [max(runs[one][i].per_core for one in minutes) for i in range(rounds)]
    rows = []
    for one in minutes:
        costs = [most / r.per_core for r, most in zip(runs[one], best, strict=True)]
        per_core, cost = statistics.median(r.per_core for r in runs[one]), statistics.median(costs)
        rows.append(
            LengthRow(
                minutes=one,
                titles=times[one],
                rounds=rounds,
                cost=cost,
                lowest_cost=min(costs),
                highest_cost=max(costs),
                per_core=per_core,
                start_up_s=statistics.median(start_ups) * per_core,
                client_peak_mb=max(r.report.peak_mb for r in runs[one]),
                segments=runs[one][-1].report.segments,
                bar=COST_BAR,
                met=cost <= COST_BAR,
            )
        )
    return rows


def measure_concurrency(
    server: TritonServer,
    repository: Path,
    folder: Path,
    *,
    spec: Film | None = None,
    ways: Sequence[Way] = tuple(Way),
    levels: Sequence[int] = LEVELS,
    titles: int = TITLES,
    rounds: int = ROUNDS,
) -> list[ConcurrencyRow]:
    """All numbers in turn, `rounds` times over, for each way in.

    `spec`: the loop of this film is each of the `titles`.
    """
    path, first = loop(spec or streamed(), folder), warm_up_title(folder)
    rows = []
    for way in ways:
        with ExitStack() as running:
            address = server.grpc_address
            if way is not Way.SDK:
                limits = BATCH_LIMITS if way is Way.GATEWAY else {}
                stack = running.enter_context(Stack(repository, triton=server, limits=limits))
                address = f"grpc://{stack.address}"
            sdk = running.enter_context(SdkProcess(address, first))
            rows += _levels(way, sdk, path, levels, titles, rounds)
    return rows


def _levels(
    way: Way, sdk: SdkProcess, path: Path, levels: Sequence[int], titles: int, rounds: int
) -> list[ConcurrencyRow]:
    reports: dict[int, list[Report]] = {level: [] for level in levels}
    for number in range(rounds):
        # up and down in turn: a machine that grows slower favours neither end
        for level in levels if number % 2 == 0 else reversed(levels):
            reports[level].append(sdk.embed([path] * titles, concurrent=level))
    speeds = {level: [r.media_s / r.wall_s for r in done] for level, done in reports.items()}
    best = [max(speeds[level][i] for level in levels) for i in range(rounds)]
    rows = []
    for level in levels:
        shares = [speed / most for speed, most in zip(speeds[level], best, strict=True)]
        of_best, barred = statistics.median(shares), level == max(levels) and way is not Way.GATEWAY_DEFAULTS
        rows.append(
            ConcurrencyRow(
                through=way,
                concurrent=level,
                titles=titles,
                rounds=rounds,
                of_best=of_best,
                lowest_of_best=min(shares),
                times_real_time=statistics.median(speeds[level]),
                client_peak_mb=max(r.peak_mb for r in reports[level]),
                bar=THROUGHPUT_BAR if barred else None,
                met=of_best >= THROUGHPUT_BAR if barred else None,
            )
        )
    return rows
