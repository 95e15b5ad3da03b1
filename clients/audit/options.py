"""Options that all audits share, and how each ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.new_file_option import writable

if TYPE_CHECKING:
    from resonance.clients.audit.report import Limit, Report

JsonOption = Annotated[bool, typer.Option("--json", help="The report as one JSON object on stdout.")]


HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", help="Write the report into this file, with its plots.", callback=writable),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="MEASURE>=NUMBER", help="Exit with 1 where it does not hold; also <=."),
]


def make_limits(texts: list[str] | None) -> tuple[Limit, ...]:
    """Of the option above; what is no limit is wrong use of the command."""
    from resonance.clients.audit.report import Limit

    return tuple(_limit(text, Limit) for text in texts or ())


def _limit(text: str, make: type[Limit]) -> Limit:
    found = re.fullmatch(r"\s*(.+?)\s*([<>]=)\s*(\S+)\s*", text)
    try:
        if found is None:
            raise ValueError
        bound = float(found[3])
    except ValueError as wrong:
        raise typer.BadParameter(f"'{text}'; expected MEASURE>=NUMBER or MEASURE<=NUMBER") from wrong
    return make(found[1], least=bound) if found[2] == ">=" else make(found[1], most=bound)


def finish(report: Report, *, json_out: bool, html: Path | None) -> None:
    """Show the report, write it, and end the command: exit code 1 where a limit is broken or the file cannot
    be written, else 0."""
    from rich.console import Console

    from resonance.clients.cli.reporting import failed_with
    from resonance.clients.errors import UsageError

    if json_out:
        typer.echo(report.to_json())
    else:
        report.show(Console())
    if html is not None:
        try:
            report.write_html(html)
        except OSError as error:
            wrong = UsageError(
                f"{html}: it cannot be written ({error.strerror}); expected a file that can be"
            )
            raise typer.Exit(failed_with(wrong)) from error
    raise typer.Exit(1 if report.broken() else 0)
