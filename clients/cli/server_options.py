"""Where the server is and how to speak to it: the options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials

DEFAULT_SERVER = "localhost:8001"

ServerOption = Annotated[
    str,
    typer.Option(
        envvar="RESONANCE_SERVER",
        metavar="ADDRESS",
        help="grpc://HOST:PORT of a gateway, or triton://HOST:PORT (or HOST:PORT) of Triton.",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(envvar="RESONANCE_TOKEN_FILE", help="A file that holds the bearer token."),
]
TlsOption = Annotated[
    bool, typer.Option("--tls", help="Encrypt; the server's certificate is one that this machine trusts.")
]
TlsCaOption = Annotated[
    Path | None, typer.Option(help="Encrypt; authorities of the server's certificate, PEM.")
]
TlsCertOption = Annotated[Path | None, typer.Option(help="Own certificate for mutual TLS, PEM.")]
TlsKeyOption = Annotated[Path | None, typer.Option(help="Its key, PEM.")]


def make_credentials(
    token_file: Path | None, tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None
) -> Credentials:
    """Of the options above; a contradiction is wrong use of the command, exit code 2."""
    from resonance.clients.credentials import Credentials

    with wrong_use():
        return Credentials(
            token_file=token_file, tls=tls, ca_file=tls_ca, cert_file=tls_cert, key_file=tls_key
        )


@contextmanager
def wrong_use() -> Iterator[None]:
    """Arguments that contradict each other end the command with exit code 2 and one line."""
    from resonance.clients.errors import UsageError
    from resonance.clients.media.text import shown

    try:
        yield
    except UsageError as wrong:
        raise typer.BadParameter(shown(" ".join(str(wrong).split()))) from wrong
