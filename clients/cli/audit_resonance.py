"""`resonance audit resonance`: whether what is recommended is watched to its end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.audit_options import (
    HtmlOption,
    JsonOption,
    LimitOption,
    check_written,
    finish,
    make_limits,
)
from resonance.clients.cli.discovery_options import StoreArgument
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def resonance(
    store: StoreArgument,
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG",
            help="CSV, JSON lines or Parquet: user, title, time, completion, and maybe score, position,"
            " propensity, clicked, watch_s; or a folder with ratings.csv of MovieLens.",
        ),
    ],
    abandoned: Annotated[
        float, typer.Option(metavar="SHARE", help="Watched less far, a clicked title was abandoned.")
    ] = 0.1,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Kinds to look at beside blocks, axes and tags: language, attribute:NAME, or a file"
            " media_id,group such as clusters; may be given again."
        ),
    ] = None,
    clip: Annotated[
        float, typer.Option(metavar="CHANCE", help="A chance of being seen below this counts as this.")
    ] = 0.05,
    position_bias: Annotated[
        float | None,
        typer.Option(
            metavar="ETA",
            min=0,
            help="Suppose that position k is seen with (1/k)^ETA. [default: the log's propensity, or fitted]",
        ),
    ] = None,
    most_rows: Annotated[
        int, typer.Option(metavar="ROWS", min=1000, help="Of a larger log viewers are drawn at random.")
    ] = 200_000,
    draws: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of viewers and draws.")] = 0,
    space: Annotated[
        Path | None, typer.Option(help="space.json of the store's space: no server is asked.")
    ] = None,
    json_out: JsonOption = False,
    html: HtmlOption = None,
    limit: LimitOption = None,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """Hold how far recommended titles are watched against their score, by block, by axis and by kind.

    Exit code 0: done; 1: a limit is broken, or the store or the log cannot be read; 2: wrong use.
    """
    from rich.console import Console

    from resonance.clients.audit.finishing import audit_finishing
    from resonance.clients.audit.finishing_report import MEASURES, finishing_sections
    from resonance.clients.audit.finishing_rows import FinishingSettings
    from resonance.clients.audit.groups import make_source
    from resonance.clients.audit.ratings import read_genres
    from resonance.clients.audit.report import Report
    from resonance.clients.audit.stored_names import as_stored, stored_names
    from resonance.clients.audit.viewings import read_viewings
    from resonance.clients.cli.descriptors import descriptor_of_store
    from resonance.clients.cli.reporting import failed_with
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.clients.ingest.stores import open_store
    from resonance.clients.ingest.uris import local_path
    from resonance.space.errors import SpaceError

    with wrong_use():
        limits = make_limits(limit, MEASURES)
        check_written(html, [store, log, *(group or ()), space])
        settings = FinishingSettings(
            abandoned=abandoned,
            clip=clip,
            position_bias=position_bias,
            sources=tuple(make_source(text) for text in group or ()),
            most_rows=most_rows,
            draws=draws,
            seed=seed,
        )
        try:
            with Console(stderr=True).status("reading the log") as status:
                viewings = read_viewings(
                    log, progress=lambda rows: status.update(f"{rows:,} rows of the log")
                )
                here = local_path(log)
                genres = {} if here is None else read_genres(here)
                status.update("asking for the space")
                descriptor = descriptor_of_store(store, space, server, credentials)
                with closing(open_store(store)) as opened:
                    viewings = as_stored(viewings, stored_names(opened, viewings.media_ids))
                    audit = audit_finishing(
                        opened, viewings, descriptor, settings, more_tags=genres, tell=status.update
                    )
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            raise typer.Exit(failed_with(failed)) from failed
    facts = {
        "store": store,
        "log": log,
        "fingerprint": descriptor.fingerprint,
        "trained": descriptor.trained,
        "completion": viewings.completion_is,
        "recommended rows": audit.log_rows,
        "looked at": audit.rows,
        "viewers": audit.viewers,
        "titles": audit.titles,
        "scored by": audit.scored_by,
        "seen": audit.weights.method,
        "draws": draws,
        "seed": seed,
    }
    sections = finishing_sections(audit, [limit.measure for limit in limits])
    report = Report("Audit of finishing", facts, sections, limits)
    finish(report, json_out=json_out, html=html)
