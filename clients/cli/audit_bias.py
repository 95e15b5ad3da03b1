"""`resonance audit bias`: which groups are over- and under-represented, and where."""

from __future__ import annotations

from enum import StrEnum
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
from resonance.clients.cli.discovery_options import StoreArgument, WeightsOption, make_weights
from resonance.clients.cli.new_file_option import writable
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


class Time(StrEnum):
    """What time is told by."""

    DATE = "date"
    ORDER = "order"


class Strictness(StrEnum):
    """See `resonance.clients.audit.representation.Correction`."""

    BH = "bh"
    HOLM = "holm"


@with_credentials
def bias(
    store: StoreArgument,
    group: Annotated[
        list[str],
        typer.Option(
            help="language, tag:NAME, attribute:NAME, or a file media_id,group; may be given again."
        ),
    ],
    target: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Shares that are wanted: group,share.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries to look at: media ids a line, .jsonl (like, taste, vector), or .npy."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Results of a query that count.")] = 20,
    weights: WeightsOption = None,
    clusters: Annotated[
        int | None, typer.Option(min=2, help="So many, by k-means. [default: by the size of the library]")
    ] = None,
    time: Annotated[
        Time | None, typer.Option(help="Drift by month of the attribute `date`, or by order in the store.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="STORE2", help="The same of another store, and what differs.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="OLD_STORE", help="The same titles in an older space: what changed, and what it cost."
        ),
    ] = None,
    feed: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet",
            help="What `resonance align --fairness` works on: who is in which group.",
            callback=writable,
        ),
    ] = None,
    correction: Annotated[
        Strictness,
        typer.Option(help="bh: few of the alerts are false; holm: hardly ever is any."),
    ] = Strictness.BH,
    alpha: Annotated[float, typer.Option(min=1e-9, max=0.5, help="Level of the correction.")] = 0.05,
    least_titles: Annotated[
        int, typer.Option(min=1, help="Groups, clusters and months of fewer titles are not tested.")
    ] = 20,
    least_points: Annotated[
        float, typer.Option(min=0, max=100, help="Deviations of fewer points of a hundred are no alert.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    prometheus: Annotated[
        Path | None,
        typer.Option(metavar="FILE.prom", help="Gauges for the textfile collector.", callback=writable),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="space.json of the store's space: no server is asked.")
    ] = None,
    against_space: Annotated[
        Path | None, typer.Option(help="The same of STORE2, where it is another.")
    ] = None,
    json_out: JsonOption = False,
    html: HtmlOption = None,
    limit: LimitOption = None,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """Compare the shares of groups in clusters and results with the library and with a target.

    Exit code 0: done; 1: a limit is broken (`--limit 'alerts<=0'`), or a store cannot be read; 2: wrong use.
    """
    from resonance.clients.audit.bias import audit_bias
    from resonance.clients.audit.bias_change import audit_change
    from resonance.clients.audit.bias_change_report import MEASURES as CHANGE_MEASURES
    from resonance.clients.audit.bias_change_report import make_change_report
    from resonance.clients.audit.bias_feeding import write_feed
    from resonance.clients.audit.bias_metrics import write_metrics
    from resonance.clients.audit.bias_queries import read_queries
    from resonance.clients.audit.bias_report import MEASURES, make_report
    from resonance.clients.audit.bias_survey import BiasSettings
    from resonance.clients.audit.groups import make_source, read_target
    from resonance.clients.audit.representation import Correction
    from resonance.clients.cli.descriptors import descriptor_of_store
    from resonance.clients.cli.reporting import failed_with
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.clients.new_files import check_ending
    from resonance.space.errors import SpaceError

    limits = make_limits(limit, MEASURES if before is None else CHANGE_MEASURES)
    with wrong_use():
        settings = BiasSettings(
            sources=[make_source(text) for text in group],
            target=read_target(target) if target else {},
            clusters=clusters,
            queries=read_queries(queries) if queries else (),
            weights=make_weights(weights),
            limit=top,
            time=None if time is None else str(time),
            alpha=alpha,
            correction=Correction(correction),
            least_titles=least_titles,
            least_deviation=least_points / 100,
            seed=seed,
        )
        read = [store, against, before, *group, target, queries, space, against_space]
        check_written(html, read, feed, prometheus)
        if feed is not None:
            check_ending(feed, "--feed", ".parquet")
        if prometheus is not None and prometheus.suffix != ".prom":
            raise UsageError(f"--prometheus {prometheus}: the collector reads files that end in .prom alone")
        if before is not None and (against or feed or prometheus or queries or time):
            raise UsageError(
                "--before beside --against, --feed, --prometheus, --queries or --time; expected one of them"
            )
        try:
            if before is not None:
                report = make_change_report(audit_change(store, before, settings), limits)
            else:
                mine = theirs = None
                if settings.queries:
                    mine = descriptor_of_store(store, space, server, credentials)
                    if against is not None:
                        theirs = descriptor_of_store(against, against_space or space, server, credentials)
                audit = audit_bias(
                    store, settings, descriptor=mine, against=against, against_descriptor=theirs
                )
                if feed is not None:
                    write_feed(audit, feed)
                if prometheus is not None:
                    write_metrics(audit, prometheus)
                report = make_report(audit, limits)
        except UsageError:
            raise
        except (ResonanceError, SpaceError, OSError) as failed:
            raise typer.Exit(failed_with(failed)) from failed
    finish(report, json_out=json_out, html=html)
