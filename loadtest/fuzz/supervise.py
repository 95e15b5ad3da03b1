"""Worker processes that take numbers one after the other, watched from outside."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resonance.loadtest.fuzz.tally import HANG_S, Tally

#: A worker imports and reads its samples before it begins.
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Workers:
    """How a kind of worker is run and what its words mean.

    Args:
        module: run with `arguments` and FIRST STEP END. It prints ``NUMBER MILLISECONDS OUTCOME`` for each
            number, and may print ``largest KIBIBYTES``.
        input_of: makes an input again, to keep it.
        judge: of an outcome: what it is called in the table, and whether it is ``fine``, ``contained`` or
            a ``finding``.
    """

    module: str
    arguments: Sequence[str]
    input_of: Callable[[int], bytes]
    judge: Callable[[str], tuple[str, str]]


async def run_workers(
    tally: Tally, kind: Workers, numbers: range, *, workers: int, tick: Callable[[], bool]
) -> None:
    """Let `workers` processes do `numbers`, each every so-manieth; start another where one dies or hangs.

    Args:
        tick: called after each input; False ends the run.
    """

    async def work(first: int) -> None:
        number = first
        while number < numbers.stop:
            number = await _one_worker(tally, kind, range(number, numbers.stop, workers), tick)

    await asyncio.gather(*(work(numbers.start + place) for place in range(workers)))


async def _one_worker(tally: Tally, kind: Workers, numbers: range, tick: Callable[[], bool]) -> int:
    """Run one process until it ends, dies or hangs; the number to go on with."""
    given = (*kind.arguments, str(numbers.start), str(numbers.step), str(numbers.stop))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", kind.module, *given, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    number, hung, ended = numbers.start, False, False
    try:
        while number < numbers.stop:
            patience_s = HANG_S + (START_S if number == numbers.start else 0.0)
            try:
                line = await asyncio.wait_for(process.stdout.readline(), patience_s)
            except TimeoutError:
                hung = True
                break
            if not line:
                ended = True
                break
            if line.startswith(b"largest"):
                largest_kib = tally.figures.get("largest_kib", 0)
                tally.figures["largest_kib"] = max(largest_kib, int(line.split()[1]))
                continue
            done, took_ms, outcome = line.decode().strip().split(" ", 2)
            _take(tally, kind, int(done), outcome, float(took_ms) / 1e3)
            number = int(done) + numbers.step
            if not tick():
                return numbers.stop
        else:
            return numbers.stop
    finally:
        if ended:  # `kill` would ask for its exit status and so take it from asyncio, which then tells 255
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANG_S):
                    await process.wait()
        if process.returncode is None:
            process.kill()
        await process.wait()
    code = process.returncode or 0
    outcome = "hang" if hung else f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
    tally.find(number, outcome, "a worker", kind.input_of(number))
    tally.record(number, outcome, HANG_S if hung else 0.0)
    return number + numbers.step if tick() else numbers.stop


def _take(tally: Tally, kind: Workers, number: int, outcome: str, took_s: float) -> None:
    label, verdict = kind.judge(outcome)
    if verdict == "finding":
        tally.find(number, label, outcome, kind.input_of(number))
    elif verdict == "contained":
        tally.contain(number, outcome, kind.input_of(number))
    elif took_s > HANG_S:
        tally.find(number, "hang", f"{took_s:.1f} s: {outcome}", kind.input_of(number))
    tally.record(number, label, took_s)
