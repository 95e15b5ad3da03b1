"""`make bench`: every figure of docs/benchmarks.md, in one run or part by part."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import date
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from resonance.export import contract
from resonance.export.onnx_export import make_inputs
from resonance.loadtest.bench.agreement import measure_agreement
from resonance.loadtest.bench.alignment import measure_align_time, measure_fairness
from resonance.loadtest.bench.cuts import measure_cuts, measure_motion
from resonance.loadtest.bench.decoding import measure_decoding
from resonance.loadtest.bench.encoder_cpu import measure_encoder_cpu
from resonance.loadtest.bench.end_to_end import measure_film
from resonance.loadtest.bench.ffmpeg_decoding import measure_against_ffmpeg
from resonance.loadtest.bench.films import H264_2H, H264_2S, H264_10S, VP9_RARE
from resonance.loadtest.bench.matrix import measure_matrix
from resonance.loadtest.bench.real_media import measure_copies, measure_sounds
from resonance.loadtest.bench.sampling import measure_sampling
from resonance.loadtest.bench.scaling import measure_concurrency, measure_lengths
from resonance.loadtest.bench.stages import measure_stages
from resonance.loadtest.bench.world_films import measure_world_films
from resonance.serving.server import ServerSettings, TritonServer

console = Console()
REPOSITORY = Path("model_repository")
#: Distinct inputs an encoder is measured on, so that no cache answers.
DISTINCT_INPUTS = 16


class Part(StrEnum):
    """What can be measured by itself."""

    ENCODERS = "encoders"
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


NEED_MEDIA = (Part.SAMPLING, Part.AGREEMENT, Part.MOTION, Part.COPIES, Part.SOUNDS)


def measure_encoders(server: TritonServer) -> list[Any]:
    """CPU an item through Triton against onnxruntime in process, for each encoder."""
    rows = []
    for name in contract.ENCODERS:
        model = contract.model(name)
        inputs = [make_inputs(model, batch=1, seed=i) for i in range(DISTINCT_INPUTS)]
        path = REPOSITORY / name / "1" / "model.onnx"
        rows.append(measure_encoder_cpu(server.grpc_address, server.pid, name, path, inputs))
    return rows


def show(title: str, rows: Iterable[Any]) -> None:
    """Print dataclasses, one block of lines each: they have more fields than a terminal has columns."""
    console.rule(title)
    for row in rows:
        fields = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in asdict(row).items())
        console.print("  ".join(fields), highlight=False, markup=False)


def environment() -> dict[str, str]:
    """What the figures depend on."""
    packages = ("onnxruntime", "tritonclient", "nvidia-pytriton", "av", "numpy", "grpcio")
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        **{name: version(name) for name in packages},
    }


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
) -> None:
    """Measure and print; figures are ratios taken side by side, times belong to this machine."""
    chosen = parts or list(Part)
    figures: dict[str, Any] = {"environment": environment()}

    def record(name: str, rows: list[Any]) -> None:
        show(name, rows)
        figures[name] = [asdict(row) for row in rows]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

    with TritonServer(ServerSettings(model_repository=REPOSITORY)) as server:
        steps: dict[Part, Callable[[], list[Any]]] = {
            Part.ENCODERS: lambda: measure_encoders(server),
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
            Part.FFMPEG: lambda: measure_against_ffmpeg(REPOSITORY, folder),
            Part.MATRIX: lambda: measure_matrix(server, folder),
            Part.STAGES: lambda: measure_stages(server, REPOSITORY, folder),
            Part.LENGTHS: lambda: measure_lengths(server, folder),
            Part.CONCURRENCY: lambda: measure_concurrency(server, REPOSITORY, folder),
            Part.SAMPLING: lambda: measure_sampling(server.grpc_address, media),
            Part.AGREEMENT: lambda: measure_agreement(server.grpc_address, media),
            Part.CUTS: measure_cuts,
            Part.MOTION: lambda: measure_motion(media),
            Part.COPIES: lambda: measure_copies(server.grpc_address, media, folder / "copies"),
            Part.SOUNDS: lambda: measure_sounds(server.grpc_address, media),
            Part.ALIGN: lambda: measure_align_time(folder),
            Part.FAIRNESS: measure_fairness,
            Part.WORLD: lambda: measure_world_films(server.grpc_address, folder / "world"),
        }
        for part in chosen:
            if part in NEED_MEDIA and not media.is_dir():
                console.print(f"{part} not measured: no real media at {media}; name a folder with --media")
                continue
            with console.status(f"measuring {part}"):
                rows = steps[part]()
            record(part, rows)
    console.print(f"all figures: {out}")


if __name__ == "__main__":
    typer.run(bench)
