"""`make bench-peers`: the figures of docs/peers.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from resonance.export.reference import Reference
from resonance.export.report import artifact_table
from resonance.loadtest.bench.peers import bars, contenders, workload
from resonance.loadtest.bench.peers.environments import Environment, make_environment
from resonance.loadtest.bench.peers.load import Contender
from resonance.loadtest.bench.peers.rounds import PeerRow, compare, worst_cosine
from resonance.loadtest.bench.peers.served import (
    Checkpoints,
    Served,
    make_checkpoints,
    make_int8,
    make_served,
)
from resonance.loadtest.gateway.figures import environment

console = Console()
CONCURRENCIES = (32, 8, 1)
#: infinity's engines at the settings that were fastest here (docs/peers.md says which were tried).
ENGINES = {
    bars.INFINITY_TORCH: ("--engine=torch", "--dtype=float32", "--no-compile"),
    # "auto" takes the first token's state for MiniLM with this engine; its vectors are then others.
    bars.INFINITY_ONNX: ("--engine=optimum", "--pooling-method=mean"),
}


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
) -> None:
    """Measure and print; ratios are taken side by side, items a second belong to this machine."""
    figures: dict[str, Any] = {"environment": environment()}
    rows: list[PeerRow] = []
    for part in parts or list(Part):
        measured = asyncio.run(_measure(part, folder, media, concurrency or CONCURRENCIES, rounds, seconds))
        console.print(_table(part, measured))
        rows += measured
        figures["peers"] = [asdict(row) for row in rows]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print(_verdicts(rows))
    console.print(f"all figures: {out}")
    for row in bars.strangers(rows):
        console.print(
            f"{row.ours} against {row.contender}: worst cosine {row.worst_cosine:.6f}, expected at least "
            f"{bars.COSINE_FLOOR}: they did not do the same work"
        )
    raise typer.Exit(1 if bars.strangers(rows) else 0)


Sides = tuple[Sequence[Contender], Sequence[Contender]]


@asynccontextmanager
async def _text(served: Served, weights: Checkpoints, folder: Path, library: Path) -> AsyncIterator[Sides]:
    """Ours and the others; all run until the end, and none works while another is measured."""
    with console.status("making infinity's environment (minutes, the first time) and starting everybody"):
        infinity = make_environment(folder, Environment.INFINITY)
        onnx = contenders.onnx_checkpoint(infinity, weights.minilm, folder / "weights" / "infinity-onnx")
        texts = workload.sentences()
        checkpoints = {bars.INFINITY_TORCH: weights.minilm, bars.INFINITY_ONNX: onnx}
        async with AsyncExitStack() as stack:
            start = stack.enter_async_context
            ours = await start(contenders.sentences_on_triton(bars.TRITON, served.fp32, texts))
            servers = [
                await start(
                    contenders.sentences_on_infinity(name, infinity, checkpoint, ENGINES[name], texts)
                )
                for name, checkpoint in checkpoints.items()
            ]
            loop = stack.enter_context(
                contenders.in_process(bars.SENTENCE_TRANSFORMERS, library, "sentences", weights.minilm, texts)
            )
            started = stack.pop_all()
    async with started:
        yield [ours], [*servers, loop]


@asynccontextmanager
async def _images(served: Served, weights: Checkpoints, media: Path, library: Path) -> AsyncIterator[Sides]:
    """As `_text`; ours in fp32 and in 8 bits."""
    report = make_int8(served, media)
    if report is not None:
        console.print(artifact_table([report], Reference(str(media))))
    pictures = workload.images()
    async with AsyncExitStack() as stack:
        ours = [
            await stack.enter_async_context(contenders.images_on_triton(name, models, pictures))
            for name, models in ((bars.TRITON, served.fp32), (bars.TRITON_INT8, served.int8))
        ]
        loops = [
            stack.enter_context(contenders.in_process(name, library, kind, weights.clip, pictures))
            for name, kind in ((bars.CLIP_LOOP, "images"), (bars.CLIP_LEAN_LOOP, "pixels"))
        ]
        yield ours, loops


async def _measure(
    part: Part, folder: Path, media: Path, concurrencies: Sequence[int], rounds: int, seconds: float
) -> list[PeerRow]:
    with console.status("making environments, weights and models (minutes, the first time)"):
        weights = make_checkpoints(folder / "weights")
        library = make_environment(folder, Environment.TRANSFORMERS)
        served = make_served(folder, weights)
        projection = served.projection(ENCODERS[part])
    sides = (
        _text(served, weights, folder, library)
        if part is Part.TEXT
        else _images(served, weights, media, library)
    )
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
