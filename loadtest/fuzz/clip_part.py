"""The part `clips`: worker processes, watched from outside."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from resonance.loadtest.fuzz.clip_worker import read_samples
from resonance.loadtest.fuzz.clips import make_clip
from resonance.loadtest.fuzz.mutate import Material
from resonance.loadtest.fuzz.tally import HANG_S, Tally
from resonance.loadtest.fuzz.tokens import NUMBERS, OTHERS


async def fuzz_clips(
    tally: Tally,
    samples: Path,
    space: Path,
    *,
    seed: int,
    numbers: range,
    workers: int,
    tick: Callable[[], bool],
) -> None:
    """Decode the clips of `numbers`.

    Args:
        samples: written by `write_samples`. space: the space's descriptor.
        tick: called after each input; False ends the run.
    """
    found = tuple(read_samples(samples))
    material = Material(found, (*OTHERS, *NUMBERS))
    tally.figures["samples"] = len(found)

    async def work(first: int) -> None:
        number = first
        while number < numbers.stop:
            number = await _one_process(
                tally, samples, space, material, seed, range(number, numbers.stop, workers), tick
            )

    await asyncio.gather(*(work(numbers.start + place) for place in range(workers)))


async def _one_process(
    tally: Tally,
    samples: Path,
    space: Path,
    material: Material,
    seed: int,
    numbers: range,
    tick: Callable[[], bool],
) -> int:
    """Run one process until it ends or dies; the number to go on with."""
    module = "resonance.loadtest.fuzz.clip_worker"
    given = (samples, space, seed, numbers.start, numbers.step, numbers.stop)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, given), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    number, hung, going = numbers.start, False, True
    try:
        while going:
            # the first line comes after the imports
            try:
                line = await asyncio.wait_for(
                    process.stdout.readline(), HANG_S + 20 * (number == numbers.start)
                )
            except TimeoutError:
                hung = True
                break
            if not line:
                break
            if line.startswith(b"rss"):
                tally.figures["largest_kib"] = max(tally.figures.get("largest_kib", 0), int(line.split()[1]))
                return numbers.stop
            done, took_ms, outcome = line.decode().strip().split(" ", 2)
            if outcome.startswith("fault"):
                message = make_clip(material, seed=seed, number=int(done))
                tally.find(int(done), "exception", outcome, message)
                outcome = "exception"
            tally.record(int(done), outcome, float(took_ms) / 1e3)
            number = int(done) + numbers.step
            going = tick()
        else:
            return numbers.stop
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    if hung:
        kind = "hang"
    elif (process.returncode or 0) < 0:
        kind = f"signal {signal.Signals(-(process.returncode or 0)).name}"
    else:
        kind = f"exit {process.returncode}"
    tally.find(number, kind, "decoding the clip", make_clip(material, seed=seed, number=number))
    tally.record(number, kind, HANG_S if hung else 0.0)
    tick()
    return number + numbers.step
