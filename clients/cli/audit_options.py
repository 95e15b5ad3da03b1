"""Options that all audits share, and how each ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.new_file_option import writable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from resonance.clients.audit.report import Limit, Report

JsonOption = Annotated[bool, typer.Option("--json", help="The report as one JSON object on stdout.")]


HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE.html",
        help="Write the report into this file, with its plots.",
        callback=writable,
    ),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="MEASURE>=NUMBER", help="Exit with 1 where it does not hold; also <=."),
]


def check_written(html: Path | None, read: Iterable[str | Path | None], *others: Path | None) -> None:
    """Refuse a report, or another file of the command, that would take the place of what it reads.

    Args:
        read: paths and URIs; what is no file of this machine cannot be meant.
        others: further files that it writes.

    Raises:
        UsageError: it would, or the report's ending is not that of a page.
    """
    from resonance.clients.ingest.uris import local_path
    from resonance.clients.new_files import check_ending, check_no_input

    inputs = [local_path(str(one)) for one in read if one]
    for written in (html, *others):
        if written is not None:
            check_no_input(written, inputs)
    if html is not None:
        check_ending(html, "--html", ".html", ".htm")


def make_limits(texts: list[str] | None, known: Sequence[str] = ()) -> tuple[Limit, ...]:
    """Of the option above; what is no limit is wrong use of the command, and said before its work.

    Args:
        known: names of the measures that the report may have, see `is_known`; without them all pass.
    """
    from resonance.clients.audit.report import Limit

    limits = tuple(_limit(text, Limit) for text in texts or ())
    for limit in limits:
        if known and not is_known(limit.measure, known):
            raise typer.BadParameter(
                f"--limit: there is no measure '{limit.measure}'; expected one of {'; '.join(known)}"
            )
    return limits


def check_limits(limits: Iterable[Limit], names: Collection[str]) -> None:
    """Refuse limits on what the report at hand cannot have, once its names are known and before the work.

    Raises:
        UsageError: a measure is none of `names`.
    """
    from difflib import get_close_matches

    from resonance.clients.errors import UsageError

    for limit in limits:
        if limit.measure not in names:
            near = ", ".join(get_close_matches(limit.measure, sorted(names), n=3)) or "none"
            raise UsageError(f"--limit: there is no measure '{limit.measure}'; near it are {near}")


def is_known(measure: str, known: Sequence[str]) -> bool:
    """Whether a name is one of `known`, whose words in capitals stand for any text: a group's name."""
    return any(
        re.fullmatch(".+".join(map(re.escape, re.split("[A-Z]+", name))), measure, re.DOTALL)
        for name in known
    )


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
