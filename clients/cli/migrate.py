"""`resonance migrate`: a store embedded again, into a store of another space beside it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.sampling import SamplingChoice
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def migrate(
    store: Annotated[str, typer.Argument(metavar="STORE", help="What is there, of the old space.")],
    sink: Annotated[str, typer.Option(metavar="URI", help="Where the new one grows.")],
    server: ServerOption = DEFAULT_SERVER,
    journal: Annotated[Path | None, typer.Option(help="As of `resonance ingest`.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Titles side by side.")] = None,
    sampling: Annotated[SamplingChoice | None, typer.Option(help="As of `resonance ingest`.")] = None,
    asr: Annotated[
        str | None, typer.Option(metavar="MODEL", help="As of `resonance ingest`, if STORE was made with it.")
    ] = None,
    asr_cache: Annotated[
        Path | None, typer.Option(help="As of `resonance ingest`; that job's saves time.")
    ] = None,
    asr_language: Annotated[
        str | None, typer.Option(metavar="CODE", help="As of `resonance ingest`.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="As of `resonance ingest`.")] = False,
    follow_s: Annotated[
        float | None,
        typer.Option(min=1, help="Look again every so many seconds for what was stored in STORE meanwhile."),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove from the new store what a look before saw in STORE and this one does not."
        ),
    ] = False,
    prune_limit: Annotated[
        float, typer.Option(min=0, max=1, help="As of `resonance ingest`, each time it looks.")
    ] = 0.1,
    patience_s: Annotated[float, typer.Option(min=0, help="As of `resonance ingest`.")] = 600.0,
    json_out: Annotated[bool, typer.Option("--json", help="How far it is as one JSON object.")] = False,
    *,
    credentials: Credentials,
) -> None:
    """Embed the titles of a store again, with a server of another space, into another sink.

    The old store is only read, so it serves until the new one is complete; with --follow-s what nightly jobs
    write to it meanwhile is written to the new one, too, until you stop this. With --prune what leaves it
    leaves the new one. A later look for which a store is away, or that would remove more than --prune-limit
    and so removes nothing, is told, and the next one follows.

    What a title was embedded with beside its media, recognised speech and a sampling of its own, is not known
    from the store: name it here as it was named then. What differs is told at the end.

    Exit code 0: complete; 1: some titles are missing, such as those in quarantine, or are not in STORE;
    130, 143: stopped, and to be gone on with; others as of ingest.
    """
    from rich.console import Console

    from resonance.clients.cli.ingest_run import IngestRun
    from resonance.clients.cli.reporting import say_failed, say_remark, say_warning
    from resonance.clients.errors import ResonanceError, described
    from resonance.clients.ingest.errors import PruneError, StoreError
    from resonance.clients.ingest.migration import Arrival, arrival
    from resonance.clients.ingest.settings import IngestSettings
    from resonance.space.errors import SpaceError

    settings = IngestSettings(
        sources=(store,),
        sink=sink,
        server=server,
        credentials=credentials,
        journal=journal,
        concurrency=concurrency,
        sampling=str(sampling) if sampling else None,
        asr=asr,
        asr_cache=asr_cache,
        asr_language=asr_language,
        retry_failed=retry_failed,
        patience_s=patience_s,
        prune_limit=prune_limit if prune else None,
        from_store=True,
    )
    console = Console(stderr=True)

    def tell(found: Arrival) -> None:
        if json_out:
            report = {
                "wanted": found.wanted,
                "there": found.there,
                "missing": found.missing,
                "surplus": found.surplus,
                "without_transcript": found.without_transcript,
                "sampled_otherwise": found.sampled_otherwise,
                "complete": found.complete,
            }
            typer.echo(json.dumps(report))
            return
        state = "complete" if found.complete else "all, and others"
        if found.missing:
            state = f"missing, such as {', '.join(found.missing)}"
        say_remark(console, f"{found.there:,} of {found.wanted:,} titles: {state}")
        for line in found.warnings(pruned=prune):
            say_warning(console, line)

    async def run() -> int:
        # a store that the first look lacks may be misspelt
        passing: tuple[type[Exception], ...] = (PruneError,)
        while True:
            job = IngestRun(settings, json_out=False)
            code, failure = await job.run(), job.failure
            if code <= 1:
                try:
                    found = await asyncio.to_thread(arrival, store, sink)
                    tell(found)
                    code = 0 if found.complete else 1
                except StoreError as error:
                    say_failed(console, described(error))
                    code, failure = 3, error
            if follow_s is None or (code > 1 and not isinstance(failure, passing)):
                return code
            if code > 1:
                say_warning(console, f"the next look is in {follow_s:g} s")
            passing = (PruneError, StoreError)
            await asyncio.sleep(follow_s)

    with wrong_use():
        try:
            code = asyncio.run(run())
        except (ResonanceError, SpaceError) as error:
            say_failed(console, described(error))
            code = 3
        except KeyboardInterrupt:  # while it waits for what is stored meanwhile
            console.print("stopped; the same command goes on from here", highlight=False)
            code = 130
    raise typer.Exit(code)
