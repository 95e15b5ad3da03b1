"""`python -m resonance.loadtest.ingest kills|memory|rates`: see docs/ingest.md."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from resonance.loadtest.ingest.kills import run_with_kills
from resonance.loadtest.ingest.library import make_title

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(stderr=True)

OUT = Path("build/ingest")


def make_library(folder: Path, titles: int) -> Path:
    """`titles` titles in `folder`; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem for path in folder.iterdir()}
    for number in track(range(titles), "making titles", console=console, transient=True):
        if f"{number:06d}" not in there:
            make_title(folder, number)
    return folder


@app.callback()
def ingestion() -> None:
    """See `resonance ingest`."""


@app.command()
def kills(
    titles: Annotated[int, typer.Option(help="Titles made.")] = 2000,
    media: Annotated[Path | None, typer.Option(help="Real media to add, odd ones too.")] = None,
    job_kills: int = 20,
    server_kills: int = 10,
    sink: Annotated[
        str, typer.Option(help="A sink with {} for the run's name; Parquet where none is given.")
    ] = "",
    seed: int = 1,
    out: Path = OUT,
) -> None:
    """Kill the job and its server at random; compare with an undisturbed run, bit for bit."""
    library = make_library(out / f"library-{titles}", titles)
    sources = [str(library), *([str(media)] if media is not None else [])]
    with tempfile.TemporaryDirectory(prefix="resonance-kills-") as folder:
        report = run_with_kills(
            sources,
            Path(folder),
            sink=sink or f"{folder}/{{}}",
            job_kills=job_kills,
            server_kills=server_kills,
            seed=seed,
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "kills.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    console.print_json(data=asdict(report))
    raise typer.Exit(1 if report.faults else 0)


if __name__ == "__main__":
    app()
