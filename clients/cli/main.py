"""The root of the `resonance` command: sub-commands come from installed entry points.

So the command line imports neither the server nor torch, and a command whose extra is not installed
says which one to install.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

GROUP = "resonance.commands"


def make_app() -> typer.Typer:
    """The command with every installed sub-command."""
    app = typer.Typer(
        name="resonance",
        help="Media in, vectors of one shared meaning space out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )

    @app.callback()
    def root() -> None:
        """Media in, vectors of one shared meaning space out."""

    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        app.command(point.name)(_load(point))
    return app


def _load(point: EntryPoint) -> Callable[..., Any]:
    try:
        command: Callable[..., Any] = point.load()
    except ModuleNotFoundError as missing:
        return _unavailable(point.name, missing.name or "a package")
    return command


def _unavailable(command: str, module: str) -> Callable[..., Any]:
    def unavailable() -> None:
        typer.echo(
            f"resonance {command}: the package {module} is not installed; "
            f"run: pip install 'resonance[{command}]'",
            err=True,
        )
        raise typer.Exit(2)

    unavailable.__doc__ = f"Not available here: {module} is not installed."
    return unavailable


def main() -> None:
    """Entry point of the `resonance` script."""
    make_app()()
