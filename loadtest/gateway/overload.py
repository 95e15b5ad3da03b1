"""Ten times the capacity for a minute: what happens to those let in, to the others, and afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resonance.loadtest.gateway.driving import Screen, Send, closed_loop, open_loop, throughput_per_s
from resonance.loadtest.gateway.figures import Spread
from resonance.loadtest.gateway.material import short_titles
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import MIB, CpuShares, Sample, ends_mib, slope_mib_per_hour
from resonance.loadtest.gateway.wire import Outcome, Wire
from resonance.v1 import embedding_pb2 as pb

CONNECTIONS = 8
SENTENCES = (
    "a storm over a harbour at night, men shouting",
    "two friends laugh in a bright kitchen",
    "a slow piano piece, someone remembers a summer long ago and a house by the sea that was sold",
    "the chase goes on through the market, glass breaks",
)


@dataclass(frozen=True, slots=True)
class OverloadFigures:
    """See docs/gateway-load.md.

    Attributes:
        capacity_per_s: calls answered a second at the best number of callers, in closed loop.
        unloaded: one caller at a time.
        accepted, refused: during the overload, from when a call was due to its end.
        p99_ratio: accepted over unloaded. codes: of calls that were not accepted.
        without_retry: refused without being told when to come again.
        after_ratio: capacity afterwards over before.
        *_slope_mib_per_hour, *_growth_mib: of resident memory during the overload, after its first tenth; the
            growth lies between the medians of a tenth at both ends.
    """

    kind: str
    capacity_per_s: float
    best_callers: int
    unloaded: Spread
    offered_per_s: float
    accepted_per_s: float
    accepted: Spread
    p99_ratio: float
    refused: Spread
    refused_share: float
    codes: dict[str, int]
    without_retry: int
    after_per_s: float
    after_ratio: float
    generator_behind_s: float
    cpu: CpuShares
    gateway_slope_mib_per_hour: float
    gateway_growth_mib: float
    readers_peak: int
    readers_peak_mib: float
    triton_slope_mib_per_hour: float
    triton_growth_mib: float


@dataclass(frozen=True, slots=True)
class OverloadRun:
    """The figures, and what their plot is drawn from."""

    figures: OverloadFigures
    started_s: float
    outcomes: list[Outcome]
    samples: list[Sample]


def query_messages() -> list[bytes]:
    """Queries of one sentence each."""
    return [
        pb.EmbedQueryRequest(query_id=f"q{i}", parts=[pb.QueryPart(text=text)]).SerializeToString()
        for i, text in enumerate(SENTENCES)
    ]


def sender(wire: Wire, kind: str, folder: Path) -> Send:
    """Calls of one kind, each of their material in turn."""
    if kind == "uploads":
        titles = short_titles(folder)
        return lambda number, due_s: wire.upload(titles[number % len(titles)], due_s=due_s)
    queries = query_messages()
    return lambda number, due_s: wire.query(queries[number % len(queries)], due_s=due_s)


async def measure_overload(
    stack: Stack,
    kind: str,
    folder: Path,
    screen: Screen,
    *,
    seconds: float = 60.0,
    times: float = 10.0,
    callers: Sequence[int] = (1, 2, 3, 4),
) -> OverloadRun:
    """Capacity, one caller alone, `seconds` at `times` the capacity, capacity again."""
    stage_s = max(seconds / 4, 2.0)
    async with Wire(stack.address, CONNECTIONS) as wire:
        send = sender(wire, kind, folder)
        async with screen.timed(f"{kind}: warm up", stage_s / 3):
            await closed_loop(send, 2, stage_s / 3)
        async with screen.timed(f"{kind}: one caller", stage_s * 2):
            alone = await closed_loop(send, 1, stage_s * 2)
        if not any(o.ok for o in alone):
            codes = Counter(o.code for o in alone)
            raise RuntimeError(f"{kind}: no call of one caller alone was answered: {dict(codes)}")
        unloaded = Spread.of([o.took_s for o in alone if o.ok])
        capacity, best = 0.0, 1
        for count in callers:
            async with screen.timed(f"{kind}: {count} callers", stage_s):
                rate = await _rate(send, count, stage_s)
            if rate > capacity:
                capacity, best = rate, count
        outcomes: list[Outcome] = []
        with stack.watch() as watch:
            started = time.monotonic()
            label = f"{kind}: {times:g} x {capacity:.3g}/s"
            async with screen.timed(label, seconds, lambda: f"{len(outcomes)} ended"):
                behind_s = await open_loop(send, times * capacity, seconds, outcomes)
        async with screen.timed(f"{kind}: afterwards", stage_s):
            after = await _rate(send, best, stage_s)
    accepted = Spread.of([o.took_s for o in outcomes if o.ok])
    turned_away = [o for o in outcomes if not o.ok]
    during = [s for s in watch.samples if started <= s.at_s <= started + seconds] or watch.samples
    steady = during[len(during) // 10 :]
    gateway, triton = [s.gateway.resident for s in steady], [s.triton.resident for s in steady]
    figures = OverloadFigures(
        kind=kind,
        capacity_per_s=capacity,
        best_callers=best,
        unloaded=unloaded,
        offered_per_s=len(outcomes) / seconds,
        accepted_per_s=throughput_per_s(outcomes, started, seconds),
        accepted=accepted,
        p99_ratio=accepted.p99_ms / max(unloaded.p99_ms, 1e-9),
        refused=Spread.of([o.took_s for o in turned_away]),
        refused_share=len(turned_away) / max(len(outcomes), 1),
        codes=dict(Counter(o.code for o in turned_away)),
        without_retry=sum(o.retry_s is None for o in turned_away),
        after_per_s=after,
        after_ratio=after / max(capacity, 1e-9),
        generator_behind_s=behind_s,
        cpu=CpuShares.between(during[0], during[-1]),
        gateway_slope_mib_per_hour=slope_mib_per_hour(steady, gateway),
        gateway_growth_mib=_growth_mib(gateway),
        readers_peak=max(s.reader_count for s in during),
        readers_peak_mib=max(s.readers.private for s in during) / MIB,
        triton_slope_mib_per_hour=slope_mib_per_hour(steady, triton),
        triton_growth_mib=_growth_mib(triton),
    )
    return OverloadRun(figures, started, outcomes, watch.samples)


async def _rate(send: Send, callers: int, seconds: float) -> float:
    started = time.monotonic()
    outcomes = await closed_loop(send, callers, seconds)
    return throughput_per_s(outcomes, started, seconds)


def _growth_mib(values: Sequence[int]) -> float:
    first, last = ends_mib(values)
    return last - first
