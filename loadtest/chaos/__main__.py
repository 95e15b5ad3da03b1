"""`make chaos`: kill everything that can be killed in the middle of titles, and see that nothing is lost."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from resonance.loadtest.chaos import report
from resonance.loadtest.chaos.house import HouseError
from resonance.loadtest.chaos.rounds import Kind, Round
from resonance.loadtest.chaos.run import Outcome, run
from resonance.loadtest.chaos.titles import FILM, Title, make_titles

FOLDER = Path("build/chaos")
MEDIA = Path(os.environ.get("RESONANCE_MEDIA", "../shared/media"))
REPOSITORY = Path("model_repository")
#: More of them are in the JSON.
MOST_SHOWN = 20
console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: every title whole, nothing left behind; 1: else, or the run could not be made."""
    chosen = _parser().parse_args(arguments)
    kinds: list[Kind] = list(dict.fromkeys(chosen.kinds))
    folder: Path = chosen.folder
    with console.status("making titles"):
        titles = make_titles(folder / "titles", chosen.media if chosen.media.is_dir() else None)
    try:
        outcome = _played(folder / "run", titles, kinds, chosen.rounds, chosen.seed)
    except HouseError as error:
        console.print(f"chaos: {error}", style="red", markup=False)
        return 1
    about = {"date": date.today().isoformat(), "cores": os.cpu_count(), "rounds": chosen.rounds}
    about |= {"seed": chosen.seed, "kinds": kinds}
    figures = report.figures(outcome.rounds, outcome.undisturbed, outcome.seen, outcome.violations, about)
    report.write_json(chosen.json, figures)
    report.plot(chosen.plot, outcome.rounds, outcome.undisturbed)
    _tell(outcome)
    console.print(f"figures: {chosen.json}, picture: {chosen.plot}")
    return 1 if outcome.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m resonance.loadtest.chaos", description=__doc__)
    parser.add_argument("--kinds", nargs="+", type=Kind, choices=list(Kind), default=list(Kind))
    parser.add_argument("--rounds", type=int, default=50, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=1, help="of moments and targets")
    parser.add_argument("--media", type=Path, default=MEDIA, help="real media, beside the rendered film")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for titles, logs and journals")
    parser.add_argument("--json", type=Path, default=FOLDER / "chaos.json", help="all figures")
    parser.add_argument("--plot", type=Path, default=FOLDER / "recovery.png", help="recovery times")
    return parser


def _played(folder: Path, titles: Sequence[Title], kinds: Sequence[Kind], rounds: int, seed: int) -> Outcome:
    """The run, its progress on the terminal."""
    film = titles[0].path.with_name(FILM)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=rounds * len(kinds))

        def step(told: str, played: Round | None) -> None:
            if told:
                progress.update(task, description=told)
            if played is not None:
                progress.advance(task)
                for violation in played.violations:
                    console.print(f"{played.kind} {played.number}: {violation}", style="red", markup=False)

        return asyncio.run(
            run(REPOSITORY, folder, titles, film, kinds, rounds=rounds, seed=seed, on_step=step)
        )


def _tell(outcome: Outcome) -> None:
    console.print(report.table(outcome.rounds))
    for during, counted in report.codes(outcome.seen).items():
        told = ", ".join(f"{code}: {times}" for code, times in counted.items())
        console.print(f"on the wire while killing {during}: {told}", markup=False, highlight=False)
    for violation in outcome.violations[:MOST_SHOWN]:
        console.print(violation, style="red", markup=False)
    whole = sum(not r.violations for r in outcome.rounds)
    console.print(f"{whole} of {len(outcome.rounds)} titles whole; {len(outcome.violations)} violations")


if __name__ == "__main__":
    sys.exit(main())
