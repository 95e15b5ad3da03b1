"""`make bench`: every figure of docs/benchmarks.md and docs/performance.md, in one run or part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from resonance.loadtest.bench.agreement import measure_agreement
from resonance.loadtest.bench.alignment import measure_align_time, measure_fairness
from resonance.loadtest.bench.bare import BareModels
from resonance.loadtest.bench.cuts import measure_cuts, measure_motion
from resonance.loadtest.bench.decoding import measure_decoding
from resonance.loadtest.bench.end_to_end import measure_film
from resonance.loadtest.bench.ffmpeg_decoding import measure_against_ffmpeg
from resonance.loadtest.bench.held_out import measure_held_out
from resonance.loadtest.bench.matrix import measure_matrix
from resonance.loadtest.bench.path_items import path_items
from resonance.loadtest.bench.plots import draw
from resonance.loadtest.bench.real_media import measure_copies, measure_sounds
from resonance.loadtest.bench.report import ratios_table
from resonance.loadtest.bench.results import Results, ResultsError, environment
from resonance.loadtest.bench.sampling import measure_sampling
from resonance.loadtest.bench.scaling import measure_concurrency, measure_lengths
from resonance.loadtest.bench.serving_path import ROUNDS, DisagreementError, PathRow, Settings, measure_path
from resonance.loadtest.bench.stages import measure_stages
from resonance.loadtest.bench.world_films import measure_world_films
from resonance.loadtest.exits import FAILED, IN_THE_WAY, NOT_RUN, exits
from resonance.loadtest.films import H264_2H, H264_2S, H264_10S, VP9_RARE
from resonance.loadtest.gateway.driving import Screen
from resonance.serving.server import ServerSettings, TritonServer

console = Console()
REPOSITORY = Path("model_repository")
#: What `make bench-peers` exports: pictures through CLIP ViT-B/32, so long that their client does not count.
LARGE = Path("build/peers/models")
LARGE_ROUNDS = 3


class Part(StrEnum):
    """What can be measured by itself."""

    PATH = "path"
    FILMS = "films"
    LONG = "long"
    DECODE = "decode"
    FFMPEG = "ffmpeg"
    MATRIX = "matrix"
    STAGES = "stages"
    LENGTHS = "lengths"
    CONCURRENCY = "concurrency"
    SAMPLING = "sampling"
    AGREEMENT = "agreement"
    CUTS = "cuts"
    MOTION = "motion"
    COPIES = "copies"
    SOUNDS = "sounds"
    WORLD = "world"
    ALIGN = "align"
    FAIRNESS = "fairness"
    HELD_OUT = "held-out"


NEED_MEDIA = (Part.SAMPLING, Part.AGREEMENT, Part.MOTION, Part.COPIES, Part.SOUNDS)


def measure_encoders(
    server: TritonServer, repository: Path, folder: Path, rounds: int, so_far: Callable[[list[PathRow]], None]
) -> list[PathRow]:
    """Every encoder and the whole ensemble along the serving path, then the large family's pictures if it is
    there; `so_far` is told the rows between, since the rest takes minutes."""
    rows = _path(server, repository, folder, "", rounds)
    if repository == REPOSITORY and LARGE.is_dir():
        so_far(rows)
        with TritonServer(ServerSettings(model_repository=LARGE)) as large:
            rows += _path(large, LARGE, folder, "visual_encoder", min(rounds, LARGE_ROUNDS))
    elif repository == REPOSITORY:
        console.print(f"pictures of a large family not measured: no {LARGE}; `make bench-peers` makes it")
    return rows


def _path(server: TritonServer, repository: Path, folder: Path, only: str, rounds: int) -> list[PathRow]:
    """Items whose model's name begins with `only`, with the time left on the screen."""
    bare, settings = BareModels(repository), Settings(rounds=rounds)
    items = [item for item in path_items(bare, folder) if item.model.startswith(only)]
    with (
        Screen(console).shown() as screen,
        screen.counted(f"path, {bare.descriptor.name}", len(items)) as done,
    ):
        return measure_path(server, repository, items, settings=settings, bare=bare, done=done)


def show(title: str, rows: Iterable[Any]) -> None:
    """Print dataclasses, one block of lines each: they have more fields than a terminal has columns."""
    console.rule(title)
    for row in rows:
        fields = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in asdict(row).items())
        console.print("  ".join(fields), highlight=False, markup=False)


def bench(
    parts: Annotated[
        list[Part] | None, typer.Argument(help="What to measure; by default everything.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where test films are made and kept.")] = Path("build/films"),
    media: Annotated[Path, typer.Option(help="Real media, for the agreement of copies.")] = Path(
        "../shared/media"
    ),
    out: Annotated[Path, typer.Option(help="All figures as JSON.")] = Path("build/bench.json"),
    runs: Annotated[int, typer.Option(help="Runs of each film.")] = 3,
    rounds: Annotated[int, typer.Option(help="Rounds of `path`.")] = ROUNDS,
    repository: Annotated[
        Path, typer.Option("--family-repository", help="The exported models, of any family.")
    ] = REPOSITORY,
    keep: Annotated[
        bool, typer.Option("--keep", help="Parts measured before on this machine stay in the JSON.")
    ] = False,
) -> None:
    """Measure and print; figures are ratios taken side by side, times belong to this machine.

    Exit code 1: wrong answers; 2: it could not be run.
    """
    chosen = parts or list(Part)
    with (
        exits(console, FAILED, DisagreementError),
        exits(console, NOT_RUN, *IN_THE_WAY, ResultsError),
    ):
        results = Results(out, environment(repository), keep=keep)
        _measure(chosen, results, repository, folder, media, runs, rounds)
    console.print(ratios_table(results.figures))
    pictures = draw(results.figures, out.stem, out.parent)
    console.print(f"all figures: {out}; pictures: {', '.join(map(str, pictures.values())) or 'none'}")


def _measure(
    chosen: Sequence[Part],
    results: Results,
    repository: Path,
    folder: Path,
    media: Path,
    runs: int,
    rounds: int,
) -> None:
    """Each part in turn, written down as soon as it is measured."""
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        steps: dict[Part, Callable[[], list[Any]]] = {
            Part.PATH: lambda: measure_encoders(
                server, repository, folder, rounds, lambda rows: results.record(Part.PATH, rows)
            ),
            Part.FILMS: lambda: [
                measure_film(spec, server, folder, sampling=sampling, runs=runs)
                for spec, sampling in (
                    (H264_2S, "keyframes"),
                    (H264_10S, "keyframes"),
                    (VP9_RARE, "keyframes"),
                    (H264_2S, "uniform"),
                )
            ],
            Part.LONG: lambda: [measure_film(H264_2H, server, folder, sampling="keyframes", runs=1)],
            Part.DECODE: lambda: measure_decoding(folder),
            Part.FFMPEG: lambda: measure_against_ffmpeg(repository, folder),
            Part.MATRIX: lambda: measure_matrix(server, folder),
            Part.STAGES: lambda: measure_stages(server, repository, folder),
            Part.LENGTHS: lambda: measure_lengths(server, folder),
            Part.CONCURRENCY: lambda: measure_concurrency(server, repository, folder),
            Part.SAMPLING: lambda: measure_sampling(server.grpc_address, media),
            Part.AGREEMENT: lambda: measure_agreement(server.grpc_address, media),
            Part.CUTS: measure_cuts,
            Part.MOTION: lambda: measure_motion(media),
            Part.COPIES: lambda: measure_copies(server.grpc_address, media, folder / "copies"),
            Part.SOUNDS: lambda: measure_sounds(server.grpc_address, media),
            Part.ALIGN: lambda: measure_align_time(folder),
            Part.FAIRNESS: measure_fairness,
            Part.HELD_OUT: lambda: measure_held_out(folder),
            Part.WORLD: lambda: measure_world_films(server.grpc_address, folder / "world"),
        }
        for part in chosen:
            if part in NEED_MEDIA and not media.is_dir():
                console.print(f"{part} not measured: no real media at {media}; name a folder with --media")
                continue
            if part is Part.PATH:
                rows = steps[part]()
            else:
                with console.status(f"measuring {part}"):
                    rows = steps[part]()
            show(part, rows)
            results.record(part, rows)


if __name__ == "__main__":
    typer.run(bench)
