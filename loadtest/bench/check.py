"""`make bench-check`: ratios that hold still on a noisy machine, against the committed baseline.

Each ratio is a cost, less is better: the median over pairs of rounds taken in turn. One that lost more than
`LOSS` is measured once more, and counts with the rounds of both attempts. Absolute times are never compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from resonance.loadtest.bench.bare import BareModels
from resonance.loadtest.bench.baseline import LOSS, Baseline, BaselineError, loss
from resonance.loadtest.bench.decoding import decode_keyframes, decode_whole
from resonance.loadtest.bench.path_items import Item, path_items
from resonance.loadtest.bench.results import commit, machine
from resonance.loadtest.bench.serving_path import DisagreementError, Settings, measure_path
from resonance.loadtest.exits import FAILED, IN_THE_WAY, NOT_RUN, exits
from resonance.loadtest.films import H264_2S, loop
from resonance.loadtest.gateway.driving import Screen
from resonance.serving.server import ServerSettings, TritonServer

console = Console()
REPOSITORY, FOLDER = Path("model_repository"), Path("build/films")
BASELINE = Path(__file__).resolve().with_name("baseline.json")
SETTINGS = Settings(rounds=7, round_s=0.5, enough_s=45)
#: Whose calls of the gateway hold still: those of a sentence and of sound alone varied by a third between
#: runs of the same code, so short is the work beside what a call costs.
CALLED = ("visual_encoder", "segment_embedding")
FILM_S = 12
KEYFRAMES = "decoding, keyframes over all"


@dataclass(slots=True)
class Measured:
    """Ratios of pairs of rounds by name, of all attempts; each is a cost."""

    pairs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, ratios: Collection[float]) -> None:
        """More rounds of a ratio."""
        self.pairs.setdefault(name, []).extend(ratios)

    def medians(self) -> dict[str, float]:
        """By ratio."""
        return {name: statistics.median(ratios) for name, ratios in self.pairs.items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ratio against the baseline; `lost` above `limit` fails. `before` None: nobody accepted it yet."""

    name: str
    now: float
    before: float | None
    lost: float
    lowest: float
    highest: float
    rounds: int
    limit: float

    @property
    def holds(self) -> bool:
        """Whether it stays so."""
        return self.before is not None and self.lost <= self.limit


def verdicts(measured: Measured, before: Mapping[str, float], limit: float = LOSS) -> list[Verdict]:
    """Of every ratio measured.

    Raises:
        BaselineError: the baseline has one that is not measured any more: nobody would notice its loss.
    """
    if gone := sorted(before.keys() - measured.pairs.keys()):
        raise BaselineError(
            f"not measured, but in the baseline: {', '.join(gone)}; expected all: accept with a reason"
        )
    found = []
    for name, now in measured.medians().items():
        was, ratios = before.get(name), measured.pairs[name]
        lost = 0.0 if was is None else loss(now, was)
        found.append(Verdict(name, now, was, lost, min(ratios), max(ratios), len(ratios), limit))
    return found


def check(
    measure: Callable[[Collection[str] | None], Measured], before: Mapping[str, float], limit: float = LOSS
) -> list[Verdict]:
    """Verdicts after at most two attempts.

    Args:
        measure: the ratios named, None for all; it may give others beside them.
    """
    first = measure(None)
    found = verdicts(first, before, limit)
    worse = {v.name for v in found if v.before is not None and not v.holds}
    if worse:
        second = measure(worse)
        for name in worse:
            first.add(name, second.pairs[name])
        found = verdicts(first, before, limit)
    return found


def table(found: Collection[Verdict]) -> Table:
    """For people."""
    shown = Table("CPU over CPU", "baseline", "now", "more", "rounds", "")
    for v in found:
        before = "none" if v.before is None else f"{v.before:.3f}"
        lost = "" if v.before is None else f"{v.lost:+.1%}"
        rounds = f"{v.lowest:.3f} to {v.highest:.3f} ({v.rounds})"
        style = "none" if v.holds else "red"
        shown.add_row(v.name, before, f"{v.now:.3f}", lost, rounds, "✓" if v.holds else "✗", style=style)
    return shown


@contextmanager
def measuring(repository: Path, folder: Path) -> Iterator[Callable[[Collection[str] | None], Measured]]:
    """What `check` calls, with a server for as long as it may."""
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        bare = BareModels(repository)
        items = checked(path_items(bare, folder))

        def measure(wanted: Collection[str] | None) -> Measured:
            chosen = [i for i in items if wanted is None or any(n in wanted for n in _names(i))]
            measured = Measured()
            with Screen(console).shown() as screen, screen.counted("measuring", len(chosen) + 1) as done:
                if wanted is None or KEYFRAMES in wanted:
                    measured.add(KEYFRAMES, keyframe_costs(folder))
                done(KEYFRAMES)
                rows = measure_path(server, repository, chosen, settings=SETTINGS, bare=bare, done=done)
            for row in rows:
                measured.add(_name(row.item, row.through), row.cpu_ratios)
            return measured

        yield measure


def keyframe_costs(folder: Path, rounds: int = SETTINGS.rounds) -> list[float]:
    """CPU of decoding and scaling the keyframes of a film over that of the whole film, in turn."""
    path = loop(replace(H264_2S, loop_s=FILM_S), folder)
    ratios = []
    for _ in range(rounds + 1):
        started = time.process_time()
        decode_whole(path, scale=True)
        between = time.process_time()
        decode_keyframes(path, scale=True)
        ratios.append((time.process_time() - between) / (between - started))
    return ratios[1:]  # the first warms up


def checked(items: Collection[Item]) -> list[Item]:
    """Those whose ratios hold still, without the calls whose ratios do not."""
    return [item if item.model in CALLED else replace(item, calls=()) for item in items if item.calls]


def names(items: Collection[Item]) -> set[str]:
    """Of all ratios that are checked."""
    return {KEYFRAMES, *(name for item in items for name in _names(item))}


def _names(item: Item) -> list[str]:
    return [_name(item.name, through) for through in ("triton", *(["gateway"] if item.calls else []))]


def _name(item: str, through: str) -> str:
    return f"{item}, {through}"


def bench_check(
    accept: Annotated[str, typer.Option(help="Take what is measured as the baseline, for this reason.")] = "",
    baseline: Annotated[Path, typer.Option(help="The committed baseline.")] = BASELINE,
    repository: Annotated[Path, typer.Option(help="The exported models.")] = REPOSITORY,
    folder: Annotated[Path, typer.Option(help="Where the test film is made and kept.")] = FOLDER,
) -> None:
    """Fail on a loss of over 15% of any ratio.

    Exit code 0: none; 1: one, or wrong answers; 2: it could not be run.
    """
    started = time.monotonic()
    here = machine()
    with (
        exits(console, FAILED, DisagreementError),
        exits(console, NOT_RUN, *IN_THE_WAY, BaselineError),
    ):
        known = Baseline.load(baseline)
        if accept:
            _accept(known, baseline, here, accept, repository, folder)
            console.print(f"{time.monotonic() - started:.0f} s")
            return
        if not known.machines:
            raise BaselineError(f'{baseline} is not there; make it: make bench-check ACCEPT="first"')
        before, limit = known.of(here)
        with measuring(repository, folder) as measure:
            found = check(measure, before, limit)
    console.print(table(found))
    if limit != LOSS:
        console.print(
            f"no baseline for {here}: held to the worst of the others and {limit:.0%}; "
            'accept one here: make bench-check ACCEPT="reason"',
            style="yellow",
            markup=False,
        )
    lost = [v.name for v in found if not v.holds]
    console.print(f"{len(found)} ratios in {time.monotonic() - started:.0f} s")
    if lost:
        console.print(
            f"worse by over {limit:.0%}, or without a baseline: {'; '.join(lost)}. If it is meant to be so: "
            'make bench-check ACCEPT="why"',
            style="red",
            markup=False,
        )
        raise typer.Exit(1)


def _accept(known: Baseline, path: Path, here: str, reason: str, repository: Path, folder: Path) -> None:
    """Measure, and make it the baseline of this machine."""
    with measuring(repository, folder) as measure:
        measured = measure(None)
    known.accept(here, measured.medians(), reason, datetime.now(UTC).date().isoformat(), commit())
    known.save(path)
    console.print(table(verdicts(measured, known.machines[here])))
    console.print(f"accepted for {here}: {reason}; commit {path}", markup=False)


if __name__ == "__main__":
    typer.run(bench_check)
