"""`resonance status`: what a server does now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def status(
    server: ServerOption = DEFAULT_SERVER,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    *,
    credentials: Credentials,
) -> None:
    """Show a server's space and models, and of a gateway its queues and throughput.

    Exit code 0: every model serves; 1: some do not, or no answer; 2: wrong use.
    """
    from resonance.clients.cli.status_run import show_status

    with wrong_use():
        code = asyncio.run(show_status(server, credentials, json_out=json_out))
    raise typer.Exit(code)
