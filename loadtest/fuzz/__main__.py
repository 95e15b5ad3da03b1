"""`python -m resonance.loadtest.fuzz`: mutated inputs until so many are done, or the time is over."""

from __future__ import annotations

import json
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import av
import typer
from rich.console import Console
from rich.table import Table

from resonance.loadtest.fuzz.mutate import Sample
from resonance.loadtest.fuzz.parts import PARTS, Part, Setting
from resonance.loadtest.fuzz.samples import made_samples, real_samples
from resonance.loadtest.fuzz.tally import Tally

console = Console(stderr=True)
REPOSITORY = Path("model_repository")
#: Folders of real media that samples are taken from.
REAL = ("odd", "video")


class Progress:
    """Says now and then how far a part is, and when its time is over."""

    def __init__(self, tally: Tally, inputs: int, deadline_s: float | None) -> None:
        self._tally, self._inputs, self._deadline_s = tally, inputs, deadline_s
        self._said_s = time.monotonic()

    def __call__(self) -> bool:
        """After each input: whether to go on."""
        now = time.monotonic()
        if now >= self._said_s + 10:
            self._said_s = now
            done, took_s = self._tally.inputs, self._tally.took_s
            left_s = (self._inputs - done) * took_s / max(done, 1)
            if self._deadline_s is not None:
                left_s = min(left_s, self._deadline_s - now)
            console.print(
                f"{self._tally.part}: {done:,} of {self._inputs:,}, {done / max(took_s, 1e-9):.0f} a second, "
                f"{left_s / 60:.1f} minutes left, {len(self._tally.findings)} findings",
                highlight=False,
            )
        return self._deadline_s is None or now < self._deadline_s


def fuzz(
    parts: Annotated[list[Part] | None, typer.Argument(help="By default all.")] = None,
    inputs: Annotated[int, typer.Option(min=1, help="Inputs of each part.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Another seed makes other inputs.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first input, to make one again.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Uploads and clips read at a time.")] = 2,
    minutes: Annotated[float | None, typer.Option(help="End each part after so long.")] = None,
    media: Annotated[Path, typer.Option(help="Real media that samples are taken from.")] = Path(
        "../shared/media"
    ),
    out: Annotated[Path, typer.Option(help="Where the report and the inputs of findings go.")] = Path(
        "build/fuzz"
    ),
    repository: Annotated[Path, typer.Option(help="The exported models.")] = REPOSITORY,
) -> None:
    """Exit code 0: nothing was found; 1: something was; 2: wrong use."""
    av.logging.set_level(av.logging.PANIC)
    chosen = parts or list(Part)
    numbers = range(first, first + inputs)
    real: list[Sample] = []
    whole: list[Sample] = []
    for folder in REAL:
        small, long = real_samples(media / folder) if (media / folder).is_dir() else ([], [])
        real += small
        whole += long
    if not real:
        console.print(f"no real media at {media}: made samples only; name a folder with --media")
    setting = Setting(
        made=made_samples(),
        real=real,
        whole=whole,
        media=media,
        repository=repository,
        seed=seed,
        numbers=numbers,
        workers=workers,
    )
    out.mkdir(parents=True, exist_ok=True)
    tallies = []
    for part in chosen:
        tally = Tally(part, out / "inputs")
        tallies.append(tally)
        progress = Progress(tally, inputs, None if minutes is None else time.monotonic() + 60 * minutes)
        PARTS[part](tally, setting, progress)
        _write(out / "report.json", tallies, seed, numbers)
    _show(tallies)
    console.print(f"all of it: {out / 'report.json'}")
    raise typer.Exit(1 if any(tally.findings for tally in tallies) else 0)


def _write(path: Path, tallies: list[Tally], seed: int, numbers: range) -> None:
    report: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(sys.argv[1:]),
        "seed": seed,
        "numbers": [numbers.start, numbers.stop],
        "python": platform.python_version(),
        **{name: version(name) for name in ("av", "grpcio", "protobuf", "pillow")},
        "parts": [tally.to_json() for tally in tallies],
    }
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(tallies: list[Tally]) -> None:
    for tally in tallies:
        table = Table(title=f"{tally.part}: {tally.inputs:,} inputs in {tally.took_s:,.0f} s")
        table.add_column("outcome")
        table.add_column("inputs", justify="right")
        for outcome, count in tally.outcomes.most_common():
            table.add_row(outcome, f"{count:,}")
        console.print(table)
        for told, numbers in tally.contained.items():
            console.print(f"contained {len(numbers)} x {told}: {numbers[:10]}", highlight=False, markup=False)
        for finding in tally.findings[:50]:
            console.print(
                f"FOUND {finding.kind} at {finding.number}: {finding.about}", highlight=False, markup=False
            )
        console.print(
            f"{len(tally.findings)} findings, slowest {tally.slowest[0]:.2f} s at {tally.slowest[1]}"
        )


if __name__ == "__main__":
    typer.run(fuzz)
