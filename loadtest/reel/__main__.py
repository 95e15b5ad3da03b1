"""`python -m resonance.loadtest.reel`: figures of docs/reel.md, a table a part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resonance.clients.discovery.reel_pictures import ReelFormat
from resonance.loadtest.reel.measure import measure_cuts, measure_exactness, measure_speed
from resonance.space import Descriptor

_SPACE = Path("model_repository/space_descriptor/1/space.json")
_FORMS = (ReelFormat(640, 360, 25), ReelFormat(1280, 720, 30), ReelFormat(1920, 1080, 30))


def main(
    media: Annotated[Path, typer.Option(help="A folder of real media, `video` in it.")],
    parts: Annotated[str, typer.Option(help="Of speed, exactness, cuts.")] = "speed exactness cuts",
    space: Annotated[Path, typer.Option(help="Any space.json.")] = _SPACE,
) -> None:
    """Measure how fast reels are written, how exactly they are cut, and how well cuts are found."""
    descriptor = Descriptor.load(space)
    wanted = parts.split()
    if "cuts" in wanted:
        for cuts in measure_cuts(media):
            typer.echo(
                f"cuts | {cuts.detector} | {cuts.footage} | precision {cuts.precision:.3f} | "
                f"recall {cuts.recall:.3f} | F1 {cuts.f1:.3f} | {cuts.ms_per_frame:.2f} ms a frame"
            )
    if "exactness" in wanted:
        for exact in measure_exactness(descriptor):
            typer.echo(
                f"exactness | {exact.film} | {exact.clips} clips | "
                f"boundary {exact.boundary_frames:.2f} frames | sync {exact.sync_frames:.2f} frames"
            )
    if "speed" in wanted:
        for speed in measure_speed(media, descriptor, _FORMS):
            typer.echo(
                f"speed | {speed.size} | {speed.clips} clips | {speed.seconds:.1f} s of reel in "
                f"{speed.spent_s:.1f} s | {speed.times_real_time:.2f} x real time"
            )


if __name__ == "__main__":
    typer.run(main)
