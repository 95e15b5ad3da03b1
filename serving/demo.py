"""`make demo`: a real Triton, a real video, its vectors.

Runs the very commands a person would: `resonance serve`, then `resonance embed` against it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from resonance.clients.sample import render_sample

COMMAND = str(Path(sys.executable).with_name("resonance"))
STOP_TIMEOUT_S = 60.0


@contextmanager
def running_server() -> Iterator[str]:
    """A server on free ports; gives its gRPC address and stops it in the end."""
    arguments = [
        COMMAND,
        "serve",
        "--target",
        "cpu",
        "--grpc-port",
        "0",
        "--http-port",
        "0",
        "--metrics-port",
        "0",
    ]
    server = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = server.stdout.readline().strip()
        if not ready.startswith("ready "):
            raise typer.Exit(server.wait() or 1)
        typer.echo(ready)
        yield dict(field.split("=", 1) for field in ready.split()[1:])["grpc"]
    finally:
        server.terminate()
        server.wait(STOP_TIMEOUT_S)


def demo(
    video: Annotated[
        Path | None, typer.Argument(help="What to embed; by default a sample rendered here.")
    ] = None,
    plot: Annotated[Path, typer.Option(help="Where the arcs are drawn.")] = Path("demo-arcs.png"),
) -> None:
    """Start Triton, stream a video into it, print the title vector, the segments and the arcs."""
    with tempfile.TemporaryDirectory(prefix="resonance-demo-") as folder:
        if video is None:
            typer.echo("no VIDEO given: rendering a sample with sound and captions")
            video, _ = render_sample(Path(folder, "sample.mp4"))
        with running_server() as address:
            command = [COMMAND, "embed", str(video), "--server", address, "--plot", str(plot)]
            code = subprocess.run(command, check=False).returncode
    if code == 0:
        typer.echo(f"arcs drawn in {plot}")
    raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(demo)
