"""A part in a process of its own: what it had found is kept, whatever became of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from resonance.loadtest.gpu_bench.part import LOST, NEED_PEAK, Job
from resonance.loadtest.gpu_bench.results import PartResult
from resonance.loadtest.gpu_bench.timing import Deadline

#: The program, to which the job is added. Not ``-m``: processes that it spawns to decode would import its
#: main module again, and torch with it, one on every core.
PROGRAM = (sys.executable, "-c", "from resonance.loadtest.gpu_bench.part import main; main()")
#: From the request to end to SIGKILL.
GRACE_S = 5.0
#: A tower needs about so long; with less it is not begun again for those after one that was fatal.
TOWER_S = 10.0


def measure_apart(job: Job, result: PartResult) -> None:
    """`job` in a process of its own, into `result`.

    Where the process dies at a tower, the towers after that one have another.
    """
    deadline, ending = Deadline(job.seconds, job.begun_s), Deadline(job.limit_s, job.begun_s)
    while True:
        died_at = _run(job, result)
        names, tower = job.towers(), died_at.split(",")[0]
        # what is tuned comes after all that is not, which a second process would measure again
        again = job.part in NEED_PEAK and tower in names and "max-autotune" not in died_at
        rest = names[names.index(tower) + 1 :] if again else ()
        if not rest:
            return
        if deadline.passed(TOWER_S):
            result.skip(f"{', '.join(rest)}: out of time")
            return
        job = replace(
            job, encoders=rest, seconds=deadline.left(), limit_s=ending.left(), begun_s=time.monotonic()
        )


def _run(job: Job, result: PartResult) -> str:
    """What it was at when it died, or an empty text where it lived on to its end."""
    journal = job.notes()
    begun_at = journal.size()
    process = subprocess.Popen([*PROGRAM, json.dumps(asdict(job))])
    at, cause = "", ""
    try:
        code = process.wait(max(0.0, Deadline(job.limit_s, job.begun_s).left()))
        cause = _cause(code) if code else ""
    except subprocess.TimeoutExpired:
        cause = f"it was ended after {job.limit_s:.0f} s"
    finally:  # also where this run is cut off, even twice
        try:
            end(process, GRACE_S)
        finally:
            at = _take(journal.since(begun_at), result)
    if not cause:
        return ""
    died_at = at or "its beginning"
    result.error(f"the process of this part died ({cause}) at: {died_at}")
    return died_at


def _take(told: Iterable[tuple[str, Any]], result: PartResult) -> str:
    """What the journal has of it into `result`, which does not tell it again; what was begun last."""
    begun = ""
    places: dict[str, list[Any]] = {"row": result.rows, "skipped": result.skipped, "error": result.errors}
    for kind, value in told:
        if kind == "begun":
            begun = value
        else:
            places[kind].append(value)
    return begun


def _cause(code: int) -> str:
    """What an exit code says."""
    if code == LOST:
        return "the GPU's context is lost, nothing works in it any more"
    if code > 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}; often memory that is short" if -code == signal.SIGKILL else name


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask it to end, and kill it where it has not after `grace_s`."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
