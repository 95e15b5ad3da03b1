"""`resonance audit coldstart`: what vectors know of titles that nobody has seen, tried on a log."""

from __future__ import annotations

from typing import Annotated

import typer

from resonance.clients.cli.audit_options import (
    HtmlOption,
    JsonOption,
    LimitOption,
    check_limits,
    check_written,
    finish,
    make_limits,
)
from resonance.clients.cli.reporting import failed_with
from resonance.clients.cli.server_options import wrong_use


def coldstart(
    store: Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")],
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG",
            help="CSV, JSON lines or Parquet of user, title, time, completion; or a folder as MovieLens has.",
        ),
    ],
    tags: Annotated[
        str | None,
        typer.Option(help="CSV, JSON lines or Parquet of media_id and tags. [default: those in the store]"),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=STORE", help="Another store of the same titles, such as untrained=URI."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="LOG2", help="The test, where it was cut already; LOG is then learned from."),
    ] = None,
    test_share: Annotated[
        float, typer.Option(min=0.05, max=0.5, help="Of the viewings, the latest: the test.")
    ] = 0.2,
    hold_out: Annotated[
        float,
        typer.Option(
            min=0, max=0.5, help="Of the titles viewed before the cut, so many are held out whole as well."
        ),
    ] = 0.1,
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Media ids, one a line, that are new: an earlier viewing of one is a leak."
        ),
    ] = None,
    unnamed: Annotated[
        int,
        typer.Option(
            metavar="TITLES",
            min=0,
            help="Titles of the store that LOG never names are new ones too: so many at most; 0: none.",
        ),
    ] = 10_000,
    drop_rewatched: Annotated[
        bool,
        typer.Option("--drop-rewatched", help="Leave out of the test what its viewer had watched before."),
    ] = False,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="Length of the lists.")] = 10,
    trainings: Annotated[int, typer.Option(min=1, max=20, help="Of each tower; figures are their mean.")] = 1,
    viewers: Annotated[
        int, typer.Option(min=10, help="That the test counts, at most; of more, so many are drawn.")
    ] = 5_000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is held out and of towers.")] = 0,
    json_out: JsonOption = False,
    html: HtmlOption = None,
    limit: LimitOption = None,
) -> None:
    """Two towers over the vectors against the same over tags, text, single blocks; popularity; factorisation.

    Exit code 0: done; 1: a limit is broken, the log leaks, or something cannot be read; 2: wrong use.
    """
    from resonance.training.tuning import restart_tuned

    restart_tuned()
    from rich.console import Console
    from rich.progress import Progress

    from resonance.clients.audit.report import Report
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.space.errors import SpaceError
    from resonance.training.coldstart.experiment import (
        FACTORISATION,
        POPULARITY,
        ColdstartSettings,
        run_coldstart,
    )
    from resonance.training.coldstart.features import BLOCK_NAMES, FUSED, TAGS
    from resonance.training.coldstart.inputs import read_inputs
    from resonance.training.coldstart.report import (
        MEASURES,
        coldstart_sections,
        measures_of,
        missing,
        notes,
        verdict,
    )
    from resonance.training.coldstart.splitting import SplitSettings, make_split

    with wrong_use():
        limits = make_limits(limit, MEASURES)
        others = [_named(text) for text in beside or ()]
        check_written(html, [store, log, tags, test, held_out, *(uri for _, uri in others)])
        try:
            inputs = read_inputs(
                store,
                log,
                test=test,
                held_out=held_out,
                tags=tags,
                beside=others,
                unnamed=unnamed,
                seed=seed,
            )
            # a block or tags that no title has are no misspelling
            named = {*inputs.contestants, FUSED, TAGS, *BLOCK_NAMES, POPULARITY, FACTORISATION}
            check_limits(limits, measures_of(named, next(iter(inputs.contestants)), k))
            settings = ColdstartSettings(
                k=k,
                split=SplitSettings(
                    test_share=test_share, held_out_share=hold_out, drop_rewatched=drop_rewatched
                ),
                trainings=trainings,
                viewers=viewers,
                seed=seed,
            )
            split = make_split(
                inputs.viewings, settings.split, seed, tested=inputs.tested, held_out=inputs.held_out
            )
            console = Console(stderr=True)
            with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
                result = run_coldstart(
                    inputs.contestants,
                    inputs.viewings,
                    settings,
                    split=split,
                    tags=inputs.contestants.get(TAGS),
                    columns=None if inputs.tags is None else {TAGS: inputs.tags.names},
                    progress=progress,
                )
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            raise typer.Exit(failed_with(error)) from error
    titles, more, found = inputs.titles, inputs.unnamed, inputs.given_tags
    facts = {
        "store": store,
        "log": log if test is None else f"{log}, test {test}",
        "tags": "none that titles share" if inputs.tags is None else tags or "stored with the titles",
        "fingerprint": inputs.space.fingerprint,
        "trained": inputs.space.trained,
        "titles": len(titles.media_ids),
        "titles_not_in_store": inputs.absent,
        "titles_not_in_log": len(more.media_ids),
        "titles_not_in_log_of_unknown_date": more.undated,
        "titles_not_in_log_left_out_as_later": more.later,
        "titles_not_in_log_left_out_by_lot": more.beyond,
        "rows_of_tags_of_other_titles": 0 if found is None else found.others,
        "held_out_not_found": len(set(inputs.held_out) - set(titles.media_ids)),
        "viewings": len(inputs.viewings),
        "completion": inputs.viewings.completion_is,
        "trainings": trainings,
        "seed": seed,
    }
    if not json_out:
        Console().print(verdict(result), markup=False, highlight=False)
    told = (*notes(result), *more.notes())
    report = Report("Audit of cold start", facts, coldstart_sections(result), limits, told, missing(result))
    finish(report, json_out=json_out, html=html)


def _named(text: str) -> tuple[str, str]:
    name, equals, uri = text.partition("=")
    if not (name and equals and uri):
        raise typer.BadParameter(f"'{text}'; expected NAME=STORE")
    return name, uri
