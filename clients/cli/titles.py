"""`resonance titles`: what a store holds, by the ids that the other commands ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from resonance.clients.cli.discovery_options import (
    LanguageOption,
    SinceOption,
    StoreArgument,
    TagOption,
    UntilOption,
    make_filter,
)
from resonance.clients.cli.server_options import wrong_use


def titles(
    store: StoreArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Only titles whose id holds them all, in any case."),
    ] = None,
    tag: TagOption = None,
    language: LanguageOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Titles at most. [default: 50; all with --json]")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object a title on stdout.")] = False,
) -> None:
    """List the titles of a store.

    Exit code 0: they are listed, or none is there; 1: the store cannot be read; 2: wrong use.
    """
    from resonance.clients.cli.titles_run import list_titles

    only = make_filter(tag, language, since, until)
    with wrong_use():
        code = list_titles(store, " ".join(words or ()), only, limit, json_out=json_out)
    raise typer.Exit(code)
