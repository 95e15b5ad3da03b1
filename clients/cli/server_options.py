"""Where the server is and how to speak to it: the options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

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
#: What `Credentials` are made of, by their name on the command line.
_CREDENTIALS: dict[str, Any] = {
    "token_file": Annotated[
        Path | None,
        typer.Option(envvar="RESONANCE_TOKEN_FILE", help="A file that holds the bearer token."),
    ],
    "tls": Annotated[
        bool,
        typer.Option("--tls", help="Encrypt; the server's certificate is one that this machine trusts."),
    ],
    "tls_ca": Annotated[
        Path | None, typer.Option(help="Encrypt; authorities of the server's certificate, PEM.")
    ],
    "tls_cert": Annotated[Path | None, typer.Option(help="Own certificate for mutual TLS, PEM.")],
    "tls_key": Annotated[Path | None, typer.Option(help="Its key, PEM.")],
}


def with_credentials(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with five options in place of its `credentials`; a contradiction among them is wrong use."""

    @functools.wraps(command)
    def asked(**given: Any) -> None:
        credentials = _make_credentials(**{name: given.pop(name) for name in _CREDENTIALS})
        command(**given, credentials=credentials)

    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "tls" else None)
        for name in _CREDENTIALS
    ]
    kept = [p for name, p in inspect.signature(command).parameters.items() if name != "credentials"]
    asked.__annotations__ = {p.name: command.__annotations__[p.name] for p in kept} | _CREDENTIALS
    hints = get_type_hints(asked, include_extras=True)  # typer takes none from the text of a signature
    asked.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(annotation=hints[p.name]) for p in (*kept, *flags)]
    )
    return asked


def _make_credentials(
    *, token_file: Path | None, tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None
) -> Credentials:
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
