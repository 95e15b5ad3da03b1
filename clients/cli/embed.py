"""`resonance embed`: media files to vectors, segments and arcs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.sampling import SamplingChoice
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials

#: A path has no two slashes in a row: that is what is left of ``https://``.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@with_credentials
def embed(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Video, sound, picture or text files.")
    ],
    server: ServerOption = DEFAULT_SERVER,
    sampling: Annotated[
        SamplingChoice | None,
        typer.Option(help="Keyframes only (fast), or two frames a second. [default: the space's]"),
    ] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Subtitles (.srt, .vtt) of the one PATH given.")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object a title on stdout.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write results to FILE.jsonl or FILE.parquet.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the arcs into this picture, such as arcs.png.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Refuse a server that embeds into another space; all 64 digits.")
    ] = None,
    *,
    credentials: Credentials,
) -> None:
    """Embed media against a running server.

    A gateway (grpc://) reads the media itself; before Triton (triton://) it is read here.

    Exit code 0: all succeeded; 1: some media failed, one line each on stderr; 2: wrong use.
    """
    from resonance.clients.cli.embed_run import EmbedRun
    from resonance.clients.new_files import check_no_input
    from resonance.clients.output import check_output_path

    if transcript is not None and len(paths) != 1:
        raise typer.BadParameter(
            f"it belongs to one PATH, but {len(paths)} were given", param_hint="--transcript"
        )
    for path in paths:
        if _ADDRESS.match(str(path)) and not path.exists():
            raise typer.BadParameter(
                f"{path} is an address; expected a file: `resonance ingest` reads what is elsewhere, "
                "`resonance follow` what is live"
            )
    with wrong_use():
        if output is not None:
            check_output_path(output)
        if plot is not None:
            from resonance.clients.plot import check_plot_path

            check_plot_path(plot)
        for written in (output, plot):
            if written is not None:
                check_no_input(written, [*paths, transcript])
    run = EmbedRun(
        server=server,
        credentials=credentials,
        sampling=str(sampling) if sampling else None,
        transcript=transcript,
        fingerprint=fingerprint,
        json_out=json_out,
        output=output,
        plot=plot,
    )
    with wrong_use():
        code = asyncio.run(run.embed_all(paths))
    raise typer.Exit(code)
