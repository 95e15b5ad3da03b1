"""`make bench-peers`: the figures of docs/peers.md."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from resonance.loadtest.bench.peers import bars
from resonance.loadtest.bench.peers.rounds import PeerRow, compare, worst_cosine
from resonance.loadtest.bench.peers.sides import Prepared, image_sides, prepare, text_sides
from resonance.loadtest.bench.results import Results, environment

console = Console()
CONCURRENCIES = (32, 8, 1)
#: The part of the figures, for the page that shows them all.
PART = "peers"


class Part(StrEnum):
    """What can be measured by itself."""

    TEXT = "text"
    IMAGES = "images"


ITEMS = {Part.TEXT: bars.TEXT, Part.IMAGES: bars.IMAGES}
ENCODERS = {Part.TEXT: "transcript_encoder", Part.IMAGES: "visual_encoder"}
#: Inputs whose vectors are compared.
COMPARED = {Part.TEXT: 64, Part.IMAGES: 16}


def peers(
    parts: Annotated[list[Part] | None, typer.Argument(help="By default both.")] = None,
    folder: Annotated[
        Path, typer.Option(help="Environments, weights and models are made and kept here: about 4 GB.")
    ] = Path("build/peers"),
    media: Annotated[Path, typer.Option(help="Pictures that 8 bits are checked on.")] = Path(
        "../shared/media"
    ),
    out: Annotated[Path, typer.Option(help="All figures as JSON.")] = Path("build/peers.json"),
    concurrency: Annotated[list[int] | None, typer.Option(help="Items asked for at any time.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of everybody in turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a round.")] = 3.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what --out has and this run does not measure.")
    ] = False,
) -> None:
    """Measure and print; ratios are taken side by side, items a second belong to this machine."""
    with console.status("making environments, weights and models (minutes, the first time)"):
        has = prepare(folder)
    results = Results(out, environment(has.served.fp32), keep=keep)
    chosen, concurrencies = parts or list(Part), concurrency or CONCURRENCIES
    measured_now = {(ITEMS[part], callers) for part in chosen for callers in concurrencies}
    rows = [PeerRow(**row) for row in results.figures.get(PART, [])]
    rows = [row for row in rows if (row.items, row.concurrency) not in measured_now]
    for part in chosen:
        measured = asyncio.run(_measure(part, has, media, concurrencies, rounds, seconds))
        console.print(_table(part, measured))
        rows += measured
        results.record(PART, rows)
    console.print(_verdicts(rows))
    console.print(f"all figures: {out}")
    for row in bars.strangers(rows):
        console.print(
            f"{row.ours} against {row.contender}: worst cosine {row.worst_cosine:.6f}, expected at least "
            f"{bars.COSINE_FLOOR}: they did not do the same work"
        )
    raise typer.Exit(1 if bars.strangers(rows) else 0)


async def _measure(
    part: Part, has: Prepared, media: Path, concurrencies: Sequence[int], rounds: int, seconds: float
) -> list[PeerRow]:
    projection = has.served.projection(ENCODERS[part])
    sides = text_sides(has) if part is Part.TEXT else image_sides(has, media, console)
    async with sides as (ours, others):
        own = {one.name: await one.vectors(COMPARED[part]) for one in ours}
        theirs = {one.name: await one.vectors(COMPARED[part]) for one in others}
        cosines = {
            (mine, other): worst_cosine(own[mine], theirs[other], projection)
            for mine in own
            for other in theirs
        }
        progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
            console=console, refresh_per_second=1, transient=True,
        )  # fmt: skip
        with progress:
            total = (len(ours) + len(others)) * len(concurrencies) * rounds
            task = progress.add_task(str(part), total=total)
            return await compare(
                ITEMS[part], ours, others, concurrencies, cosines, rounds=rounds, seconds=seconds,
                on_round=lambda label: progress.update(task, description=label, advance=1),
            )  # fmt: skip


def _table(part: Part, rows: Sequence[PeerRow]) -> Table:
    headings = ("at a time", "contender", f"{ITEMS[part]}/s", "p50, ms", "p99, ms", "server CPU, ms")
    pair = ("client CPU, ms", "against", "ratio", "p99 ratio", "worst cosine")
    table = Table(*headings, *pair, title=f"{part}: ratio is ours over theirs")
    for row in rows:
        times = (row.per_s, row.p50_ms, row.p99_ms, row.server_cpu_ms, row.client_cpu_ms)
        table.add_row(
            *(str(row.concurrency), row.contender, *(f"{value:.2f}" for value in times), row.ours),
            *(f"{row.ratio:.2f}", f"{row.p99_ratio:.2f}", f"{row.worst_cosine:.7f}"),
        )
    return table


def _verdicts(rows: Sequence[PeerRow]) -> Table:
    table = Table("items", "ours", "contender", "at a time", "ratio", "bar", "p99 ratio", "bar", "")
    for bar, row in bars.judged(rows):
        table.add_row(
            bar.items, bar.ours, bar.contender, str(bar.concurrency), f"{row.ratio:.2f}", f"{bar.ratio:g}",
            f"{row.p99_ratio:.2f}", "" if bar.p99_ratio is None else f"{bar.p99_ratio:g}",
            "met" if bar.is_met(row) else "NOT MET",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    typer.run(peers)
