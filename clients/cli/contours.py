"""`resonance contours`: the melodies of a store's titles, kept in a file beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from resonance.clients.cli.new_file_option import writable
from resonance.clients.cli.server_options import wrong_use


def contours(
    store: Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.parquet", help="Where they go; what is there is kept.", callback=writable),
    ],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read media. [default: one a core]")
    ] = None,
) -> None:
    """Follow the pitch of every title's sound, for `resonance hum`.

    The media is read where the store says it is. A title that is in FILE already, and has not changed, is not
    read again; one that has left the store leaves FILE.

    Exit code 0: all are there; 1: some media could not be read, one line each on stderr; 2: wrong use.
    """
    from rich.console import Console

    from resonance.clients.cli.reporting import say_failed
    from resonance.clients.discovery.contouring import Outcome, titles_with_sound, update_contours
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.clients.ingest.stores import open_store
    from resonance.clients.ingest.uris import local_path
    from resonance.clients.long_work import LongWork
    from resonance.clients.new_files import check_ending, check_no_input
    from resonance.space.errors import SpaceError

    console = Console(stderr=True)
    done = failed = 0
    work = LongWork(console, "contours", "titles")

    def on_done(outcome: Outcome) -> None:
        nonlocal done, failed
        done += 1
        work.tell(done)
        if outcome.error is not None:
            failed += 1
            say_failed(console, f"{outcome.media_id}: {outcome.error}")

    with wrong_use():
        check_ending(out, "--out", ".parquet")
        check_no_input(out, [local_path(store)])
        try:
            opened = open_store(store)
            try:
                titles = list(titles_with_sound(opened))
            finally:
                opened.close()
            with work:
                found = update_contours(
                    out,
                    titles,
                    workers=workers or len(os.sched_getaffinity(0)),
                    on_start=work.expect,
                    on_done=on_done,
                )
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
    there = len(found.titles())
    typer.echo(f"{there:,} of {len(titles):,} titles with sound, {len(found.rows):,} segments: {out}")
    raise typer.Exit(1 if failed else 0)
