"""`resonance hum`: which clip has this melody, and where."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


class Way(StrEnum):
    """How a hum is compared."""

    CONTOUR = "contour"
    VECTOR = "vector"


@with_credentials
def hum(
    store: Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")],
    sound: Annotated[Path, typer.Option(metavar="FILE", help="A hum, or any sound with a melody.")],
    contours: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="What `resonance contours` wrote of STORE.")
    ] = None,
    by: Annotated[Way, typer.Option(help="Its melody, or how it sounds to the model.")] = Way.CONTOUR,
    limit: Annotated[int, typer.Option(min=1, help="Clips at most, the best place of each title.")] = 10,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """Find the clips with a melody, and where in them it is: in another key, tempo or voice.

    By contour, which is right more often (docs/hum.md), no server is asked; by vector it embeds the hum.

    Exit code 0: the search was made; 1: it could not be, one line on stderr; 2: wrong use.
    """
    from resonance.clients.cli.hum_run import HumRun

    run = HumRun(
        store=store,
        sound=sound,
        contours=contours,
        by=str(by),
        limit=limit,
        json_out=json_out,
        server=server,
        credentials=credentials,
    )
    with wrong_use():
        code = asyncio.run(run.find())
    raise typer.Exit(code)
