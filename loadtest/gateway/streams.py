"""A hundred live feeds at once, in real time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from resonance.loadtest.gateway.driving import Screen
from resonance.loadtest.gateway.figures import Spread
from resonance.loadtest.gateway.material import WINDOW_S
from resonance.loadtest.gateway.script import Script, Stream, learn
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import (
    MIB,
    CpuShares,
    Sample,
    children,
    slope_mib_per_hour,
    unique_bytes,
)
from resonance.loadtest.gateway.wire import Wire

CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class StreamsFigures:
    """See docs/gateway-load.md.

    Attributes:
        latency: from when the message that completes a window was due to the window's segment; without the
            start, while streams begin.
        missing: segments that were due and did not come. codes: how calls ended.
        behind_p99_ms: how late messages were handed over.
        readers: processes that read an upload. reader_unique_mib: memory of one that it shares with no other.
        gateway_mib_per_stream: growth of the gateway's RSS by the streams, a stream.
    """

    kind: str
    streams: int
    seconds: float
    segments: int
    missing: int
    titles: int
    codes: dict[str, int]
    latency: Spread
    behind_p99_ms: float
    cpu: CpuShares
    gateway_mib: float
    gateway_mib_per_stream: float
    gateway_slope_mib_per_hour: float
    readers: int
    reader_unique_mib: float
    readers_slope_mib_per_hour: float
    triton_mib: float
    triton_slope_mib_per_hour: float


@dataclass(slots=True)
class _Log:
    """What all streams met."""

    latencies: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    segments: int = 0
    missing: int = 0
    titles: int = 0
    codes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What every stream does. Windows that are due before `counts_from_s` are no figures."""

    script: Script
    messages: int
    completes: Sequence[int]
    counts_from_s: float


@dataclass(frozen=True, slots=True)
class StreamsRun:
    """The figures, and what their plot is drawn from."""

    figures: StreamsFigures
    started_s: float
    samples: list[Sample]


async def measure_streams(
    stack: Stack,
    kind: str,
    script: Script,
    screen: Screen,
    *,
    seconds: float,
    streams: int = 100,
    spread_s: float = WINDOW_S,
    learnt: Sequence[int] | None = None,
) -> StreamsRun:
    """`streams` calls that begin within `spread_s` and send the first `seconds` of `script`, at its pace.

    Args:
        learnt: which messages complete windows; None finds it out first.
    """
    log = _Log()
    unique, readers = 0.0, 0
    async with Wire(stack.address, CONNECTIONS) as wire:
        if learnt is None:
            async with screen.timed(f"{kind}: what a window needs", 40):
                learnt = await learn(wire, script)
        completing = script.completing(learnt)
        with stack.watch(1.0) as watch:
            before = watch.samples[0]
            started = time.monotonic()
            messages = sum(at_s <= seconds + 1e-6 for at_s, _ in script.messages)
            completes = [index for index in completing if index < messages]
            plan = _Plan(script, messages, completes, started + spread_s)
            label = f"{streams} streams, {kind}"
            async with screen.timed(label, seconds + spread_s, lambda: f"{log.segments} segments"):
                looking = asyncio.create_task(asyncio.sleep(spread_s + seconds * 0.7))
                running = [
                    asyncio.create_task(
                        _one(wire, f"{kind}-{n}", plan, log, started + n * spread_s / streams)
                    )
                    for n in range(streams)
                ]
                await looking
                pids = list(children(stack.gateway_pid))
                readers = len(pids)
                unique = await asyncio.to_thread(lambda: sum(unique_bytes(pid) for pid in pids)) / MIB
                await asyncio.gather(*running)
    steady = [
        s for s in watch.samples if started + 2 * spread_s <= s.at_s <= started + seconds
    ] or watch.samples
    gateway = [s.gateway.resident for s in steady]
    figures = StreamsFigures(
        kind=kind,
        streams=streams,
        seconds=seconds,
        segments=log.segments,
        missing=log.missing,
        titles=log.titles,
        codes=dict(log.codes),
        latency=Spread.of(log.latencies),
        behind_p99_ms=Spread.of(log.behind).p99_ms,
        cpu=CpuShares.between(steady[0], steady[-1]),
        gateway_mib=gateway[-1] / MIB,
        gateway_mib_per_stream=(max(gateway) - before.gateway.resident) / MIB / streams,
        gateway_slope_mib_per_hour=slope_mib_per_hour(steady, gateway),
        readers=readers,
        reader_unique_mib=unique / max(readers, 1),
        readers_slope_mib_per_hour=slope_mib_per_hour(steady, [s.readers.private for s in steady]),
        triton_mib=steady[-1].triton.resident / MIB,
        triton_slope_mib_per_hour=slope_mib_per_hour(steady, [s.triton.resident for s in steady]),
    )
    return StreamsRun(figures, started, watch.samples)


async def _one(wire: Wire, name: str, plan: _Plan, log: _Log, begins: float) -> None:
    script = plan.script
    stream = Stream(wire, script.first(name))
    await asyncio.sleep(max(begins - time.monotonic(), 0))
    try:
        await stream.begin()
        for index in range(plan.messages):
            due = begins + script.messages[index][0]
            if (left_s := due - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            log.behind.append(max(time.monotonic() - due, 0.0))
            await stream.send_of(script, index)
        await stream.end()
        log.codes["OK"] += 1
    except grpc.aio.AioRpcError as error:
        log.codes[error.code().name] += 1
    log.segments += len(stream.answered_s)
    log.titles += stream.titles
    for window, index in enumerate(plan.completes):
        due = begins + script.messages[index][0]
        if window >= len(stream.answered_s):
            log.missing += 1
        elif due >= plan.counts_from_s:
            log.latencies.append(stream.answered_s[window] - due)
