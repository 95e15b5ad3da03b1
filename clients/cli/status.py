"""`resonance status`: what a server does now."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from resonance.clients.cli.server_options import (
    DEFAULT_SERVER,
    ServerOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TokenFileOption,
    make_credentials,
    wrong_use,
)


def status(
    server: ServerOption = DEFAULT_SERVER,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    token_file: TokenFileOption = None,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
) -> None:
    """Show a server's space and models, and of a gateway its queues and throughput.

    Exit code 0: every model serves; 1: some do not, or no answer; 2: wrong use.
    """
    from resonance.clients.cli.status_run import show_status

    credentials = make_credentials(token_file, tls, tls_ca, tls_cert, tls_key)
    with wrong_use():
        code = asyncio.run(show_status(server, credentials, json_out=json_out))
    raise typer.Exit(code)
