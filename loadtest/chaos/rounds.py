"""One round: a title is begun, something is killed in its middle, and in the end it has to be whole."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from asyncio import sleep
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import psutil

from resonance.loadtest.chaos.house import House, HouseError, Shape
from resonance.loadtest.chaos.journal import Kept, forget, read_journal
from resonance.loadtest.chaos.running_job import RunningJob
from resonance.loadtest.chaos.titles import Title
from resonance.loadtest.chaos.verdict import judge
from resonance.loadtest.chaos.witness import Witness

JOB_TIMEOUT_S = 180.0
SETTLE_TIMEOUT_S = 60.0
#: A kill that comes when the title is there already is no kill in its middle; the round begins anew.
TRIES = 8
#: Models without which no title is made, beside those of its segments.
ALWAYS = ("title_fusion", "space_descriptor")


class Kind(StrEnum):
    """What is killed."""

    STUB = "stub"
    TRITON = "triton"
    GATEWAY = "gateway"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A title as it is when nothing dies.

    Attributes:
        span_s: from its first segment to its last.
        pause_s: longest pause between two of its segments.
    """

    title: Title
    kept: Kept
    span_s: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """What came of a round.

    Attributes:
        kind, target: what was killed; of stubs the model's name.
        moment: when, as a share of the time from the first segment to the last of an undisturbed run.
        segments_before, segments: kept when it was killed, and in all.
        recovery_s: from the kill to the end of the longest pause in which no segment came.
        settled_s: from the kill until every process was back and every model had answered.
        worst: largest absolute difference of any vector.
        missed: kills that came too late before it.
        violations: in words.
    """

    number: int
    kind: Kind
    target: str
    title: str
    moment: float
    segments_before: int
    segments: int
    recovery_s: float
    settled_s: float
    worst: float
    missed: int
    violations: tuple[str, ...]


class Rounds:
    """Plays rounds against `house`, whose shape at rest is `rest`."""

    def __init__(self, house: House, rest: Shape, witness: Witness, folder: Path) -> None:
        self._house, self._rest, self._witness, self._folder = house, rest, witness, folder

    async def play(self, number: int, kind: Kind, undisturbed: Undisturbed, rng: random.Random) -> Round:
        """One round, with as many tries as it takes to meet the title's middle.

        Raises:
            HouseError: the server is not there any more, or the middle was never met.
        """
        journal = self._folder / f"{kind}-{number}.jsonl"
        for missed in range(TRIES):
            forget(journal)
            moment = rng.random()
            models = (*undisturbed.title.models, *ALWAYS)
            target = rng.choice(models) if kind is Kind.STUB else str(kind)
            played = await self._try(number, kind, target, moment, undisturbed, journal, missed)
            if played is not None:
                return played
        raise HouseError(f"{TRIES} kills of {kind} came after the end of {undisturbed.title.name}")

    async def _try(
        self,
        number: int,
        kind: Kind,
        target: str,
        moment: float,
        undisturbed: Undisturbed,
        journal: Path,
        missed: int,
    ) -> Round | None:
        house, title = self._house, undisturbed.title
        self._witness.during = kind
        job = await RunningJob.start(house.address, title, journal, house.environment())
        await job.first.wait()
        await sleep(moment * undisturbed.span_s)
        before = len(job.arrivals_s)
        if not job.running or not before:
            if why := await job.wait(JOB_TIMEOUT_S):
                raise HouseError(f"{title.name}: the client failed before anything was killed: {why}")
            return None
        doomed = _kill(house, kind, target, job)
        killed_s = time.monotonic()
        arrivals_s = job.arrivals_s
        if kind is Kind.CLIENT:
            await job.wait(JOB_TIMEOUT_S)
            written = read_journal(journal)
            if written.titles:
                return None
            before = len(written.segments)
            again = await RunningJob.start(house.address, title, journal, house.environment())
            arrivals_s, job = again.arrivals_s, again
        why = await job.wait(JOB_TIMEOUT_S)
        violations = [f"the client failed: {why}"] if why else []
        recovery_s = _recovery_s(killed_s, arrivals_s)
        async with self._witness.silent():
            found = await house.settled(self._rest, SETTLE_TIMEOUT_S)
            settled_s = time.monotonic() - killed_s
        violations += [f"left behind: {told}" for told in self._rest.differences(found)]
        violations += [f"outlived its kill: {told}" for told in _living(doomed)]
        kept = read_journal(journal)
        verdict = judge(kept, undisturbed.kept)
        violations += verdict.faults
        if not violations:
            forget(journal)
        return Round(
            number=number,
            kind=kind,
            target=target,
            title=title.name,
            moment=moment,
            segments_before=before,
            segments=len(kept.segments),
            recovery_s=recovery_s,
            settled_s=settled_s,
            worst=verdict.worst,
            missed=missed,
            violations=tuple(violations),
        )


async def undisturbed_run(house: House, title: Title, journal: Path) -> Undisturbed:
    """Embed `title` with nothing killed.

    Raises:
        HouseError: it failed.
    """
    forget(journal)
    job = await RunningJob.start(house.address, title, journal, house.environment())
    if why := await job.wait(JOB_TIMEOUT_S):
        raise HouseError(f"{title.name}: failed with nothing killed: {why}")
    times_s = job.arrivals_s[:-1]  # the last one is the title's
    pauses_s = [b - a for a, b in pairwise(job.arrivals_s)]
    return Undisturbed(title, read_journal(journal), times_s[-1] - times_s[0], max(pauses_s))


def _kill(house: House, kind: Kind, target: str, job: RunningJob) -> list[psutil.Process]:
    """SIGKILL, nothing that could be prepared for; all that must be gone soon."""
    pid = job.process.pid if kind is Kind.CLIENT else house.pid_of(target)
    family = house.family(pid)
    os.kill(pid, signal.SIGKILL)
    return family


def _living(doomed: list[psutil.Process]) -> list[str]:
    """Those that still run; psutil tells a process from a later one with the same id."""
    told = []
    for each in doomed:
        with contextlib.suppress(psutil.Error):
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                told.append(f"{each.pid} {' '.join(each.cmdline()[:3])}")
    return told


def _recovery_s(killed_s: float, arrivals_s: list[float]) -> float:
    """From the kill to the end of the longest pause after it.

    Not to the next segment: what was on its way when something died still arrives.
    """
    times_s = [killed_s, *(t for t in arrivals_s if t > killed_s)]
    pauses_s = [(b - a, b) for a, b in pairwise(times_s)]
    return max(pauses_s)[1] - killed_s if pauses_s else 0.0
