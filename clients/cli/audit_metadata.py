"""`resonance audit metadata`: how much of what the vectors know do the tags carry."""

from __future__ import annotations

from typing import Annotated

import typer

from resonance.clients.cli.audit_options import (
    HtmlOption,
    JsonOption,
    LimitOption,
    check_written,
    finish,
    make_limits,
)
from resonance.clients.cli.reporting import failed_with
from resonance.clients.cli.server_options import wrong_use


def metadata(
    store: Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")],
    tags: Annotated[
        str | None,
        typer.Argument(
            metavar="[TAGS]",
            help="CSV, JSON lines or Parquet of media_id and tags (a list, or text with ; between);"
            " without it, the tags stored with the titles.",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(metavar="TITLES", min=100, help="Of a larger library so many, drawn at random.")
    ] = 20_000,
    least: Annotated[
        int, typer.Option(metavar="TITLES", min=10, help="A tag counts where so many of the sample carry it.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample and the folds.")] = 0,
    json_out: JsonOption = False,
    html: HtmlOption = None,
    limit: LimitOption = None,
) -> None:
    """A score of the tags held against the vectors, of the vectors against the tags, and what to mend first.

    Exit code 0: done; 1: a limit is broken, or the store or the tags cannot be read; 2: wrong use.
    """
    from dataclasses import replace

    from resonance.clients.audit.metadata import audit_metadata
    from resonance.clients.audit.metadata_report import MEASURES, metadata_sections, missing, notes
    from resonance.clients.audit.report import Report
    from resonance.clients.audit.sampling import read_sample
    from resonance.clients.audit.tags import read_tags
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.clients.ingest.stores import open_store
    from resonance.space.errors import SpaceError

    with wrong_use():
        limits = make_limits(limit, MEASURES)
        check_written(html, [store, tags])
        try:
            opened = open_store(store)
            try:
                titles = read_sample(opened, sample, seed)
            finally:
                opened.close()
            told: tuple[str, ...] = ()
            if tags is not None:
                found = read_tags(tags, titles.media_ids)
                titles = replace(
                    titles, tags=tuple(found.by_title.get(name, ()) for name in titles.media_ids)
                )
                told = found.notes(tags, whole=len(titles.media_ids) == titles.titles)
            audit = audit_metadata(titles, seed=seed, least=least)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            raise typer.Exit(failed_with(error)) from error
    facts = {
        "store": store,
        "tags": tags or "stored with the titles",
        "fingerprint": opened.space.fingerprint,
        "trained": opened.space.trained,
        "titles": titles.titles,
        "sampled": len(titles.media_ids),
        "least": least,
        "seed": seed,
    }
    report = Report(
        "Audit of metadata",
        facts,
        metadata_sections(audit, titles),
        limits,
        (*notes(audit), *told),
        missing(audit),
    )
    finish(report, json_out=json_out, html=html)
