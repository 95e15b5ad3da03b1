"""`resonance follow`: a live stream, its segments and titles as they happen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.sampling import SamplingChoice
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def follow(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="- for standard input, the path of a pipe, or an address: rtsp://, rtmp://, http:// (HLS), udp://.",
        ),
    ],
    server: ServerOption = DEFAULT_SERVER,
    name: Annotated[
        str | None, typer.Option(help="What to call it. [default: the source, without passwords]")
    ] = None,
    sampling: Annotated[
        SamplingChoice | None,
        typer.Option(help="Keyframes only (fast), or two frames a second. [default: the space's]"),
    ] = None,
    endless: Annotated[
        bool,
        typer.Option(
            "--endless", help="Open an address again when it ends, as that of a camera may any day."
        ),
    ] = False,
    every: Annotated[int, typer.Option(min=1, max=1000, help="Segments from one title to the next.")] = 8,
    json_out: Annotated[
        bool, typer.Option("--json", help="One JSON object a segment and a title on stdout, as they come.")
    ] = False,
    sink: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Store each title so far, to be found while it is on; as that of `ingest`.",
        ),
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Refuse a server that embeds into another space; all 64 digits.")
    ] = None,
    *,
    credentials: Credentials,
) -> None:
    """Embed a live stream through a gateway: each segment as it happens, every few of them a title so far.

    Ctrl-C and SIGTERM end it in order: the last segments and the title follow.

    Where the gateway or an address breaks, it goes on with what happens then.

    Exit code 0: the stream ended; 1: it failed, one line on stderr; 2: wrong use; 130 and 143: told to stop.
    """
    from resonance.clients.cli.follow_run import FollowRun

    run = FollowRun(
        source=source,
        server=server,
        credentials=credentials,
        name=name,
        sampling=str(sampling) if sampling else None,
        endless=endless,
        rolling_every=every,
        sink=sink,
        fingerprint=fingerprint,
        json_out=json_out,
    )
    with wrong_use():
        code = asyncio.run(run.follow())
    raise typer.Exit(code)
