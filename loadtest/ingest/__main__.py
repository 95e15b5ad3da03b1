"""`python -m resonance.loadtest.ingest kills|nodes|memory|cost|capacity`: see docs/ingest.md."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from resonance.loadtest.films import Film, film
from resonance.loadtest.ingest.capacity import measure
from resonance.loadtest.ingest.costs import job_cpu_s, start_cpu_s, watched_job
from resonance.loadtest.ingest.kills import Server, run_with_kills
from resonance.loadtest.ingest.library import make_title
from resonance.loadtest.ingest.nodes import run_with_a_lost_node
from resonance.loadtest.ingest.plots import plot_memory

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


def film_of(minutes: int) -> Film:
    """What `cost` reads; each length is a file of its own."""
    return Film(
        f"1080p_{minutes}min_crf8",
        "libx264",
        "mp4",
        minutes,
        2,
        (("preset", "veryfast"), ("crf", "8")),
        1920,
        1080,
        loop_s=20,
    )


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


@app.command()
def nodes(
    titles: Annotated[int, typer.Option(help="Titles made.")] = 2000,
    media: Annotated[Path | None, typer.Option(help="Real media to add, odd ones too.")] = None,
    out: Path = OUT,
) -> None:
    """A Ray cluster of two nodes of which one is killed; compare with an undisturbed run, bit for bit."""
    library = make_library(out / f"library-{titles}", titles)
    sources = [str(library), *([str(media)] if media is not None else [])]
    with tempfile.TemporaryDirectory(prefix="resonance-nodes-") as folder:
        report = asyncio.run(run_with_a_lost_node(sources, Path(folder), lost_after=titles // 3))
    (out / "nodes.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    console.print_json(data=asdict(report))
    raise typer.Exit(1 if report.faults else 0)


@app.command()
def memory(
    titles: Annotated[int, typer.Option(help="Titles made.")] = 2000,
    first: Annotated[int, typer.Option(help="Compare with the memory after so many.")] = 100,
    out: Path = OUT,
) -> None:
    """Memory of the job's process as the catalogue grows."""
    if titles <= first:
        raise typer.BadParameter(f"--titles {titles} is not above --first {first}: nothing would be compared")
    library = make_library(out / f"library-{titles}", titles)
    with tempfile.TemporaryDirectory(prefix="resonance-memory-") as folder:
        server = Server(Path(folder) / "server.log")
        server.start()
        try:
            looks = watched_job(
                [str(library)], f"{folder}/sink", server.address, Path(folder) / "journal.sqlite"
            )
        finally:
            server.stop()
    after = [look for look in looks if look.titles >= first] or looks[-1:]  # it may end between two looks
    report = {
        "titles": looks[-1].titles,
        f"rss_mib_at_{first}": round(after[0].rss_mib, 1),
        "rss_mib_at_end": round(looks[-1].rss_mib, 1),
        "rss_mib_most": round(max(look.rss_mib for look in looks), 1),
        "titles_per_s": round(looks[-1].titles / looks[-1].at_s, 1),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "memory.json").write_text(json.dumps([asdict(look) for look in looks]) + "\n")
    plot_memory(looks, first, out / "memory.png")
    console.print_json(data=report)


@app.command()
def cost(
    minutes: Annotated[int, typer.Option(min=1)] = 20,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    out: Path = OUT,
) -> None:
    """CPU of the client for a 1080p film with `keyframes`, before Triton and before a gateway."""
    film_1080p = film_of(minutes)
    path = film(film_1080p, out)
    with tempfile.TemporaryDirectory(prefix="resonance-cost-") as folder:
        report = {
            "media_s": film_1080p.duration_s,
            "mbit_per_s": round(path.stat().st_size * 8e-6 / film_1080p.duration_s, 2),
        }
        for gateway in (False, True):
            server = Server(Path(folder) / "server.log", gateway=gateway)
            server.start()
            try:
                spent_s = []
                for at in range(rounds):
                    where = f"{folder}/{gateway}-{at}"
                    job_s = job_cpu_s([str(path)], where, server.address, Path(where + ".sqlite"))
                    spent_s.append(job_s - start_cpu_s())
            finally:
                server.stop()
            name = "gateway" if gateway else "triton"
            report[f"{name}_cpu_s"] = round(statistics.median(spent_s), 3)
            # one core, while media pass at ten times real time
            share = statistics.median(spent_s) / film_1080p.duration_s * 10
            report[f"{name}_core_share_at_10x"] = round(share, 4)
    (out / "cost.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print_json(data=report)


@app.command()
def capacity(titles: int = 300, out: Path = OUT) -> None:
    """Costs of a title, what they predict for 4 and 16 side by side, and what came; one server and two."""
    library = make_library(out / f"library-{titles}", titles)
    report: dict[str, object] = {}
    for count in (1, 2):
        with tempfile.TemporaryDirectory(prefix="resonance-capacity-") as folder:
            servers = [Server(Path(folder) / f"server-{at}.log") for at in range(count)]
            try:
                for server in servers:
                    server.start()
                costs, runs = measure(library, Path(folder), servers, [4, 16])
            finally:
                for server in servers:
                    server.stop()
        report[f"{count} server"] = {"costs": asdict(costs), "runs": [asdict(run) for run in runs]}
    (out / "capacity.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print_json(data=report)


if __name__ == "__main__":
    app()
