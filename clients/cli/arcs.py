"""`resonance arcs`: titles whose tension, pace or energy runs in a wanted shape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resonance.clients.cli.discovery_options import (
    LanguageOption,
    SinceOption,
    StoreArgument,
    TagOption,
    UntilOption,
    make_filter,
)
from resonance.clients.cli.server_options import wrong_use


def arcs(
    store: StoreArgument,
    shape: Annotated[
        str | None,
        typer.Option(help="rise, fall, comeback, peak, slow-burn, early-shock, waves or steady."),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="VALUES", help="A drawn curve: 0,0.2,0.9 at equal steps, or a CSV file of time,value."
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="MEDIA_ID", help="Titles that run like this one of the store.")
    ] = None,
    arc: Annotated[
        list[str] | None,
        typer.Option(help="Which arc: pacing, energy, brightness or an axis; of several the mean counts."),
    ] = None,
    tag: TagOption = None,
    language: LanguageOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Titles at most.")] = 10,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the found arcs over the wanted shape, such as arcs.png.")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Find titles by the shape of an arc, `tension` unless told otherwise. No server is asked.

    A distance of 0 is the wanted shape; 1 is what a title has that does not move.

    Exit code 0: the search was made; 1: it could not be, one line on stderr; 2: wrong use.
    """
    from resonance.clients.cli.arcs_run import ArcsRun

    if sum(given is not None for given in (shape, curve, like)) != 1:
        raise typer.BadParameter("expected one of --shape, --curve and --like")
    run = ArcsRun(
        store=store,
        shape=shape,
        curve=curve,
        like=like,
        names=tuple(dict.fromkeys(arc or ["tension"])),
        only=make_filter(tag, language, since, until),
        limit=limit,
        plot=plot,
        json_out=json_out,
    )
    with wrong_use():
        code = run.search()
    raise typer.Exit(code)
