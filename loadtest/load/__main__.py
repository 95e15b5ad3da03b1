"""`python -m resonance.loadtest.load SHAPE`: ramp, spike, soak or constant load, and a verdict."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from resonance.loadtest.exits import IN_THE_WAY, NOT_RUN, exits
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import wait_quiet
from resonance.loadtest.load import material
from resonance.loadtest.load.objectives import ObjectivesError, read
from resonance.loadtest.load.plan import Plan
from resonance.loadtest.load.report import Report
from resonance.loadtest.load.running import GeneratorError, run
from resonance.loadtest.load.shapes import CREW, Shape
from resonance.serving.repository import read_repository

console = Console()
#: Users and seconds where none are given; a soak's users are about half of docs/loadtest.md's knee.
DEFAULTS = {
    Shape.RAMP: (8 * CREW, 240.0),
    Shape.SPIKE: (8 * CREW, 180.0),
    Shape.SOAK: (2 * CREW, 1800.0),
    Shape.CONSTANT: (2 * CREW, 60.0),
}


def load(
    shape: Annotated[Shape, typer.Argument(help="How the users come.")] = Shape.RAMP,
    users: Annotated[int | None, typer.Option(min=1, help="At most; each calls at its own pace.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Of load; by default by shape.")] = None,
    address: Annotated[
        str, typer.Option(help="host:port of a gateway; by default one is started with a Triton, here.")
    ] = "",
    certificate: Annotated[
        Path | None, typer.Option(help="PEM of who signed its certificate; by default no TLS.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="A file with the token to send.")] = None,
    slo: Annotated[Path, typer.Option(help="The objectives.")] = Path("loadtest/slo.toml"),
    out: Annotated[Path, typer.Option(help="Where report, figures and pictures go.")] = Path("build/load"),
    repository: Annotated[Path, typer.Option(help="The exported models.")] = Path("model_repository"),
    unloaded: Annotated[float, typer.Option(min=0, help="Seconds of single calls before the load.")] = 15.0,
    feed: Annotated[float, typer.Option(min=8, max=40, help="Seconds of a live feed.")] = 16.0,
    quiet: Annotated[float, typer.Option(help="Wait up to so many seconds for a machine that rests.")] = 0.0,
) -> None:
    """Load a gateway and judge it. Exit code 0: all objectives held; 1: not; 2: it could not be run."""
    most_users, length_s = DEFAULTS[shape]
    with exits(console, NOT_RUN, *IN_THE_WAY, ObjectivesError, GeneratorError):
        objectives = read(slo).of(shape)
        out.mkdir(parents=True, exist_ok=True)
        if not address:
            read_repository(repository, "cpu")  # before what takes longer
        sent = material.make(out / "material")
        if quiet:
            console.print(f"the machine is in use to {wait_quiet(quiet):.0%}")
        with ExitStack() as closing:
            stack = None if address else closing.enter_context(Stack(repository))
            plan = Plan(
                address=stack.address if stack else address,
                shape=shape,
                users=users or most_users,
                seconds=seconds or length_s,
                unloaded_s=unloaded,
                feed_s=feed,
                material=str(sent.folder),
                journal=str(out / f"{shape}.jsonl"),
                html=str(out / f"{shape}.html"),
                certificate_file=str(certificate or ""),
                token_file=str(token_file or ""),
            )
            done = run(plan, console, (stack.gateway_pid, stack.triton_pid) if stack else None)
    report = Report.of(done, sent, objectives)
    report.write(out)
    report.show(console)
    console.print(f"report {plan.html}, figures and pictures beside it")
    raise typer.Exit(0 if report.held else 1)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(load)
    app()
