"""`resonance explore`: a library in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.discovery_options import StoreArgument
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def explore(
    store: StoreArgument,
    server: ServerOption = DEFAULT_SERVER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks one that is free.")] = 8765,
    host: Annotated[str, typer.Option(help="An address of this machine's loopback.")] = "127.0.0.1",
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
    history: Annotated[
        Path | None,
        typer.Option(
            help="What a viewer watched (.csv, .jsonl, .parquet), to begin with. [default: nothing]"
        ),
    ] = None,
    *,
    credentials: Credentials,
) -> None:
    """Search a store by example in a browser: posters that play, sliders, arcs, and why each title was found.

    Exit code 0: it was ended with Ctrl+C; 1: the store cannot be read; 2: wrong use.
    """
    from resonance.clients.errors import ResonanceError, UsageError, described
    from resonance.clients.explorer import run
    from resonance.space.errors import SpaceError

    with wrong_use():
        try:
            run.explore(
                store,
                server=server,
                credentials=credentials,
                host=host,
                port=port,
                history=history,
                browser=open_browser,
                tell=typer.echo,
            )
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            typer.echo(described(error), err=True)
            raise typer.Exit(1) from error
