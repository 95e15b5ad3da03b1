"""`resonance explain`: why a title is suggested after another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.discovery_options import StoreArgument, WeightsOption, make_weights
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials

HalfLifeOption = Annotated[
    float | None, typer.Option(metavar="DAYS", help="Days after which a viewing counts half. [150]")
]
SpaceOption = Annotated[
    Path | None, typer.Option(help="space.json of the store's space: no server is asked.")
]


@with_credentials
def explain(
    store: StoreArgument,
    a: Annotated[str, typer.Argument(metavar="A", help="Media id of the title in hand.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Media id of the title suggested.")],
    weights: WeightsOption = None,
    history: Annotated[
        Path | None,
        typer.Option(help="What the viewer watched (.csv, .jsonl, .parquet): what of it speaks for B."),
    ] = None,
    half_life: HalfLifeOption = None,
    space: SpaceOption = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """Say why B is suggested after A: the shares of its score, the moments most alike, one plain sentence.

    Exit code 0: it was explained; 1: it could not be, one line on stderr; 2: wrong use.
    """
    from resonance.clients.cli.explain_run import ExplainRun

    run = ExplainRun(
        store=store,
        a=a,
        b=b,
        weights=make_weights(weights),
        history=history,
        half_life_days=half_life,
        space=space,
        json_out=json_out,
        server=server,
        credentials=credentials,
    )
    with wrong_use():
        code = asyncio.run(run.explain())
    raise typer.Exit(code)
