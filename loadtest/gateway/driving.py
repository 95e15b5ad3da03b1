"""Calls in closed and in open loop, with the time left on the screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resonance.loadtest.gateway.wire import Outcome

#: One call: its number and when it was due in, how it went out.
Send = Callable[[int, float], Awaitable[Outcome]]


def progress_on(console: Console) -> Progress:
    """Bars with a note each, redrawn rarely: the generator shares the machine with the server."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=1,
        transient=True,
    )


class Screen:
    """Progress of a part."""

    def __init__(self, console: Console) -> None:
        self._progress = progress_on(console)

    @contextmanager
    def shown(self) -> Iterator[Screen]:
        """For as long as something is measured."""
        with self._progress:
            yield self

    @contextmanager
    def counted(self, label: str, steps: int) -> Iterator[Callable[[str], None]]:
        """A bar that fills by a step whenever what it gives is told what was done."""
        task = self._progress.add_task(label, total=steps, note="")
        try:
            yield lambda note: self._progress.update(task, advance=1, note=note)
        finally:
            self._progress.remove_task(task)

    @asynccontextmanager
    async def timed(self, label: str, seconds: float, note: Callable[[], str] = str) -> AsyncIterator[None]:
        """A bar that fills in `seconds`; `note` says what there is to say, now."""
        task = self._progress.add_task(label, total=seconds, note="")
        ticking = asyncio.create_task(self._tick(task, time.monotonic(), note))
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            self._progress.remove_task(task)

    async def _tick(self, task: TaskID, started: float, note: Callable[[], str]) -> None:
        while True:
            self._progress.update(task, completed=time.monotonic() - started, note=note())
            await asyncio.sleep(1)


async def closed_loop(send: Send, callers: int, seconds: float) -> list[Outcome]:
    """`callers` that each call again as soon as they are answered, for `seconds`."""
    outcomes: list[Outcome] = []
    ends = time.monotonic() + seconds

    async def caller(number: int) -> None:
        while (now := time.monotonic()) < ends:
            outcome = await send(number + len(outcomes), now)
            outcomes.append(outcome)
            if not outcome.ok:
                await asyncio.sleep(outcome.retry_s or 0.1)  # as it was told

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return outcomes


async def open_loop(
    send: Send, rate_per_s: float, seconds: float, outcomes: list[Outcome], seed: int = 596
) -> float:
    """Calls that come at random times (Poisson), however the ones before fare; all answered on return.

    A call's time counts from when it was due, so a late generator makes no figure better.

    Returns:
        The latest that the generator was behind, in seconds.
    """
    rng = np.random.default_rng(seed)
    running: set[asyncio.Task[None]] = set()
    started = due = time.monotonic()
    behind_s, number = 0.0, 0

    async def one(number: int, due: float) -> None:
        outcomes.append(await send(number, due))

    while (due := due + float(rng.exponential(1 / rate_per_s))) < started + seconds:
        if (left_s := due - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        else:
            behind_s = max(behind_s, -left_s)
        task = asyncio.create_task(one(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)
    return behind_s


def throughput_per_s(outcomes: list[Outcome], started: float, seconds: float) -> float:
    """Calls answered in full within the `seconds` from `started`, a second."""
    ended = sum(o.ok and o.due_s + o.took_s <= started + seconds for o in outcomes)
    return ended / seconds
