"""From the last byte that a window needs to its vector, one stream alone on the machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from resonance.loadtest.gateway.driving import Screen
from resonance.loadtest.gateway.figures import Spread
from resonance.loadtest.gateway.material import LOOP_WINDOWS
from resonance.loadtest.gateway.script import Script, Stream, learn
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import CpuShares
from resonance.loadtest.gateway.wire import Wire

#: Everything before the last message has been worked off after this, so the last one meets an idle machine.
REST_S = 0.4
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """See docs/gateway-load.md.

    Attributes:
        latency: from handing the message that completes a window to gRPC, to the window's segment.
        look_ahead_s: media past the window's end up to the end of that message, at most.
        too_early, too_late: segments that came before that message, or not within `TIMEOUT_S` after it.
    """

    kind: str
    latency: Spread
    look_ahead_s: float
    too_early: int
    too_late: int
    cpu: CpuShares


async def measure_latency(
    stack: Stack, kind: str, script: Script, screen: Screen, *, windows: int
) -> LatencyFigures:
    """Send up to the message that completes a window, rest, send that one, wait for the segment; and so on.

    Which message it is is found out first, by waiting after each.
    """
    took: list[float] = []
    too_early = too_late = 0
    async with Wire(stack.address) as calls:
        async with screen.timed(f"latency, {kind}: what a window needs", 40):
            learnt = await learn(calls, script)
        stream = Stream(calls, script.first(kind))
        await stream.begin()
        sent = 0
        with stack.watch() as watch:
            async with screen.timed(f"latency, {kind}", windows * (REST_S + 0.4), lambda: f"{len(took)}"):
                for window, last in enumerate(script.completing(learnt)[:windows]):
                    for index in range(sent, last):
                        await stream.send_of(script, index)
                    await asyncio.sleep(REST_S)
                    early = len(stream.answered_s) > window
                    sent_s, sent = await stream.send_of(script, last), last + 1
                    if early:
                        too_early += 1
                    elif not await stream.wait_segments(window + 1, TIMEOUT_S):
                        too_late += 1
                    elif window >= LOOP_WINDOWS:  # the first ones warm up
                        took.append(stream.answered_s[window] - sent_s)
        await stream.end()
    return LatencyFigures(
        kind=kind,
        latency=Spread.of(took),
        look_ahead_s=script.look_ahead_s(learnt),
        too_early=too_early,
        too_late=too_late,
        cpu=CpuShares.between(watch.samples[0], watch.samples[-1]),
    )
