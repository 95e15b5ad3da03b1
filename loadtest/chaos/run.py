"""A whole run: undisturbed titles first, then one kill after the other."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from resonance.loadtest.chaos.house import House, HouseError
from resonance.loadtest.chaos.rounds import Kind, Round, Rounds, Undisturbed, undisturbed_run
from resonance.loadtest.chaos.titles import Title
from resonance.loadtest.chaos.verdict import judge
from resonance.loadtest.chaos.witness import Seen, Witness

#: Segments that the witness fuses.
FUSED = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found; `violations` are those of rounds and those that the witness saw."""

    undisturbed: tuple[Undisturbed, ...]
    rounds: tuple[Round, ...]
    seen: Mapping[Seen, int]
    violations: tuple[str, ...]


async def run(
    repository: Path,
    folder: Path,
    titles: Sequence[Title],
    film: Path,
    kinds: Sequence[Kind],
    *,
    rounds: int,
    seed: int,
    on_step: Callable[[str, Round | None], None] = lambda told, played: None,
) -> Outcome:
    """Kill each of `kinds` so many times.

    Args:
        film: what the witness sends.
        seed: of targets and moments.
        on_step: told what comes next, and the round that was just played.

    Raises:
        HouseError: the server did not start, ended, or fails with nothing killed.
    """
    journals = _empty(folder)
    rng = random.Random(seed)
    on_step("starting the server", None)
    async with House(repository, folder) as house:
        expected = []
        for title in titles:
            on_step(f"{title.name}, undisturbed", None)
            expected.append(await _reference(house, title, journals))
        rest = house.shape()
        if told := rest.strays + rest.spooled:
            raise HouseError(f"left behind with nothing killed: {told}")
        segments = list(islice(expected[0].kept.segments, FUSED))
        fingerprint = expected[0].kept.titles[0].fingerprint
        played: list[Round] = []
        async with Witness(house.address, film, segments, fingerprint) as witness:
            course = Rounds(house, rest, witness, journals)
            for number in range(rounds):
                for kind in kinds:  # in turn, so that a busy stretch of the machine is shared
                    of = expected[len(played) % len(expected)]
                    on_step(f"{kind} in {of.title.name}", None)
                    played.append(await course.play(number, kind, of, rng))
                    on_step("", played[-1])
            seen, wrong = dict(witness.seen), witness.violations()
        on_step("stopping the server", None)
    left = [f"left behind by the stopped server: {told}" for told in house.leftovers()]
    found = [f"{r.kind} {r.number} ({r.target}, {r.title}): {v}" for r in played for v in r.violations]
    return Outcome(tuple(expected), tuple(played), seen, (*found, *wrong, *left))


def _empty(folder: Path) -> Path:
    """Make `folder` anew; its folder for journals."""
    shutil.rmtree(folder, ignore_errors=True)
    journals = folder / "journals"
    journals.mkdir(parents=True)
    return journals


async def _reference(house: House, title: Title, journals: Path) -> Undisturbed:
    """The title, after two runs that have to agree: what differs by itself cannot be held against a kill."""
    first, second = [
        await undisturbed_run(house, title, journals / f"{title.name}-{run}.jsonl") for run in (1, 2)
    ]
    if faults := judge(second.kept, first.kept).faults:
        raise HouseError(f"{title.name}: two undisturbed runs differ: {faults[0]}")
    return first
