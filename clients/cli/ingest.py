"""`resonance ingest`: a catalogue in, every vector stored once."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.sampling import SamplingChoice
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


class Engine(StrEnum):
    """What runs the job."""

    LOCAL = "local"
    RAY = "ray"


@with_credentials
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, globs, manifests (.csv, .jsonl, .parquet), here or at s3://, gs://, ...",
        ),
    ],
    sink: Annotated[
        str,
        typer.Option(
            metavar="URI", help="Where rows go: a folder (Parquet), s3://..., or qdrant://HOST:PORT/NAME."
        ),
    ],
    server: ServerOption = DEFAULT_SERVER,
    journal: Annotated[
        Path | None,
        typer.Option(help="What was done. [default: in the sink's folder, else in ~/.local/state]"),
    ] = None,
    failed: Annotated[
        Path | None, typer.Option(help="Titles in quarantine. [default: failed.parquet beside the journal]")
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try titles in quarantine again, though they did not change."),
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Titles side by side. [default: what the server is made for]")
    ] = None,
    sampling: Annotated[
        SamplingChoice | None,
        typer.Option(help="Keyframes only (fast), or two frames a second. [default: the space's]"),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="At the end, remove stored titles that none of the sources has any more."
        ),
    ] = False,
    prune_limit: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The largest share of stored titles to prune; above it none is, for a library that is half "
            "there looks like one that shrank.",
        ),
    ] = 0.1,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Embed what is in the one folder SOURCE, then every upload, until stopped."
        ),
    ] = False,
    asr: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Transcribe what has sound and no transcript: a faster-whisper model."
        ),
    ] = None,
    asr_cache: Annotated[
        Path | None, typer.Option(help="Transcripts made so far. [default: beside the journal]")
    ] = None,
    asr_language: Annotated[
        str | None, typer.Option(metavar="CODE", help="Of all speech, such as en. [default: heard]")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="This machine alone, or a Ray cluster.")] = Engine.LOCAL,
    ray_address: Annotated[
        str | None,
        typer.Option(help="The cluster's; `auto` for the one this machine is in. [default: a new one here]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray: actors that embed. [default: one a node]")
    ] = None,
    batch_titles: Annotated[int, typer.Option(min=1, help="Titles written to the sink at once.")] = 64,
    patience_s: Annotated[
        float, typer.Option(min=0, help="How long a server that is away or full is waited for.")
    ] = 600.0,
    metrics_port: Annotated[
        int | None, typer.Option(help="Prometheus metrics on this port of the loopback; 0 picks one.")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
    *,
    credentials: Credentials,
) -> None:
    """Embed a library and store every title once; killed, it goes on where it stopped.

    Unchanged titles are skipped, changed ones replaced. A title that fails for its own fault is put in
    quarantine and stops nothing.

    Exit code 0: every title is stored; 1: some are in quarantine; 2: wrong use; 3: the server or the sink was
    away for too long or is of another space, a source is not there, or more would be pruned than may be;
    130, 143: stopped, and to be gone on with.

    A server that is away, also when the job begins, is waited for (--patience-s).
    """
    from resonance.clients.cli.ingest_run import IngestRun
    from resonance.clients.ingest.settings import IngestSettings

    with wrong_use():
        settings = IngestSettings(
            sources=tuple(sources),
            sink=sink,
            server=server,
            credentials=credentials,
            journal=journal,
            failed=failed,
            retry_failed=retry_failed,
            concurrency=concurrency,
            sampling=str(sampling) if sampling else None,
            watch=watch,
            asr=asr,
            asr_cache=asr_cache,
            asr_language=asr_language,
            ray=engine is Engine.RAY,
            ray_address=ray_address,
            workers=workers,
            batch_titles=batch_titles,
            patience_s=patience_s,
            prune_limit=prune_limit if prune else None,
            metrics_port=metrics_port,
        )
        code = asyncio.run(IngestRun(settings, json_out=json_out).run())
    sys.stdout.flush()
    raise typer.Exit(code)
