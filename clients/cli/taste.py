"""`resonance taste`: what a viewer may like, by what was watched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.discovery_options import StoreArgument, WeightsOption, make_weights
from resonance.clients.cli.explain import HalfLifeOption, SpaceOption
from resonance.clients.cli.new_file_option import writable
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def taste(
    store: StoreArgument,
    history: Annotated[
        Path,
        typer.Option(
            help="What the viewer watched (.csv, .jsonl, .parquet): media_id, completion, watched_at, signal."
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, help="Titles at most.")] = 10,
    weights: WeightsOption = None,
    less_like: Annotated[
        list[str] | None,
        typer.Option(metavar="MEDIA_ID", help="A title to be less like; may be given again."),
    ] = None,
    half_life: HalfLifeOption = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Keep the taste for `search` and `reel`.", callback=writable),
    ] = None,
    space: SpaceOption = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """List titles of a store that suit a viewer's history, with what of it speaks for each.

    Exit code 0: the list was made; 1: it could not be, one line on stderr; 2: wrong use.
    """
    from resonance.clients.cli.taste_run import TasteRun
    from resonance.clients.new_files import check_ending, check_no_input

    if save is not None:
        with wrong_use():
            check_no_input(save, [history, space])
            check_ending(save, "--save", ".json")
    run = TasteRun(
        store=store,
        history=history,
        limit=limit,
        weights=make_weights(weights),
        less_like=tuple(less_like or ()),
        half_life_days=half_life,
        save=save,
        space=space,
        json_out=json_out,
        server=server,
        credentials=credentials,
    )
    with wrong_use():
        code = asyncio.run(run.recommend())
    raise typer.Exit(code)
