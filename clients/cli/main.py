"""The root of the `resonance` command: sub-commands come from installed entry points.

So the command line imports neither the server nor torch, and a command whose extra is not installed says
which one to install. Commands import what they need when they are called.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer

from resonance.clients.cli.termination import ended_in_order
from resonance.clients.extras import extra_hint

GROUP = "resonance.commands"
#: Commands whose extra has another name.
EXTRAS = {
    **dict.fromkeys(("embed", "status"), "client"),
    **dict.fromkeys(("follow", "validate", "remove", "migrate"), "ingest"),
    **dict.fromkeys(("carry", "carry-taste"), "audit"),
    **dict.fromkeys(("contours", "hum"), "melody"),
    **dict.fromkeys(("search", "titles", "arcs", "explain", "taste", "reel"), "discovery"),
    "audit coldstart": "coldstart",
    "train-tiny": "train",
    "evaluate-tiny": "train",
    "align": "train",
}
#: Commands that listen: the gateway counts failed handshakes by gRPC's own lines.
SERVERS = ("serve", "gateway")
#: Packages that an option of a command needs, with an extra of their own.
_EXTRAS_OF_OPTIONS = {"ray": "ray"}
#: What a write fails with on a disk that is full, or for somebody who may use no more of it.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_app(named: str | None = None) -> typer.Typer:
    """The command with every installed sub-command; with that one alone that is `named`, if there is one.

    All of them take longer to load than many a command to run.
    """
    app = typer.Typer(
        name="resonance",
        help="Media in, vectors of one shared meaning space out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )

    @app.callback()
    def root(
        asked: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
        ] = False,
    ) -> None:
        """Media in, vectors of one shared meaning space out."""

    points = sorted(entry_points(group=GROUP), key=lambda p: p.name)
    for point in [p for p in points if p.name == named] or points:
        loaded = point.load()
        if not isinstance(loaded, typer.Typer):
            app.command(point.name)(_checked(point.name, loaded))
            continue
        group = typer.Typer(help=loaded.info.help, no_args_is_help=True)
        for command in loaded.registered_commands:
            assert command.callback is not None, "a command is a function"
            name = f"{point.name} {command.name or command.callback.__name__}"
            group.command(command.name)(_checked(name, command.callback))
        app.add_typer(group, name=point.name)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"resonance {version('resonance')}")
        raise typer.Exit


def _checked(name: str, command: Callable[..., Any]) -> Callable[..., Any]:
    """The command; where a package it needs is missing, one line says which extra brings it."""

    @functools.wraps(command)
    def checked(*arguments: Any, **options: Any) -> Any:
        # gRPC says what our errors say again, in lines of its own, unless it is told to keep to errors
        quiet = name not in SERVERS and "GRPC_VERBOSITY" not in os.environ
        if quiet:
            os.environ["GRPC_VERBOSITY"] = "ERROR"
        try:
            with nullcontext() if name in SERVERS else ended_in_order():
                return command(*arguments, **options)
        except ModuleNotFoundError as missing:
            group = name.split()[0]
            extra = EXTRAS.get(name, EXTRAS.get(group, group))
            extra = _EXTRAS_OF_OPTIONS.get((missing.name or "").partition(".")[0], extra)
            typer.echo(
                f"resonance {name}: the package {missing.name} is not installed; {extra_hint(extra)}",
                err=True,
            )
            raise typer.Exit(2) from missing
        finally:
            if quiet:  # whoever called this as a function may start a server next
                os.environ.pop("GRPC_VERBOSITY", None)

    return checked


def main() -> None:
    """Entry point of the `resonance` script. Where there is no room for what it writes, one line says so."""
    full = "the output"
    try:
        try:
            make_app(*sys.argv[1:2])()
        finally:
            if sys.stdout is not None:  # as it is where it was closed before
                sys.stdout.flush()  # a short output is written only here
            full = "the output or a file"  # an error of writing names neither, and nothing more is held
    except OSError as error:
        if error.errno not in (errno.EPIPE, *NO_ROOM):
            raise
        _drop_stdout()
        if error.errno != errno.EPIPE:  # whoever reads no further knows it
            typer.echo(f"resonance: {error.filename or full} cannot be written ({error.strerror})", err=True)
        sys.exit(1)


def _drop_stdout() -> None:
    """What is still held of it goes nowhere: Python would try to write it once more in the end."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
