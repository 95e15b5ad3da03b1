"""`resonance audit coldstart`: what vectors know of titles that nobody has seen, tried on a log."""

from __future__ import annotations

from typing import Annotated

import typer

from resonance.clients.audit.options import (
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
    from contextlib import closing

    from rich.console import Console
    from rich.progress import Progress

    from resonance.clients.audit.coldstart_report import (
        MEASURES,
        coldstart_sections,
        measures_of,
        missing,
        notes,
        verdict,
    )
    from resonance.clients.audit.report import Report
    from resonance.clients.audit.stored_names import as_stored, stored_names
    from resonance.clients.audit.tags import read_tags
    from resonance.clients.audit.viewings import read_viewings
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.clients.ingest.stores import open_store
    from resonance.space.errors import SpaceError
    from resonance.training.coldstart.candidates import unnamed_titles
    from resonance.training.coldstart.experiment import (
        FACTORISATION,
        POPULARITY,
        ColdstartSettings,
        run_coldstart,
    )
    from resonance.training.coldstart.features import (
        BLOCK_NAMES,
        FUSED,
        TAGS,
        other_vectors,
        read_titles,
        stored_contestants,
        tag_features,
    )
    from resonance.training.coldstart.logs import join_logs, only_titles, read_names
    from resonance.training.coldstart.splitting import SplitSettings, make_split

    with wrong_use():
        limits = make_limits(limit, MEASURES)
        others = [_named(text) for text in beside or ()]
        check_written(html, [store, log, tags, test, held_out, *(uri for _, uri in others)])
        try:
            whole, tested = read_viewings(log), None
            if test is not None:
                whole, tested = join_logs(whole, read_viewings(test))
            named_new = read_names(held_out) if held_out is not None else ()
            with closing(open_store(store)) as opened:
                names = stored_names(opened, {*whole.media_ids, *named_new})
                whole = as_stored(whole, names)
                named_new = tuple(names.get(name, name) for name in named_new)
                more = unnamed_titles(
                    opened,
                    whole.media_ids,
                    end_s=float(whole.at_s[-1]) if len(whole) else 0.0,
                    most=unnamed,
                    wanted=named_new,
                    seed=seed,
                )
                titles = read_titles(opened, whole.media_ids, more.media_ids)
            viewings, rows = only_titles(whole, titles.media_ids)
            found = read_tags(tags, titles.media_ids) if tags is not None else None
            tagged = tag_features(
                titles.tags if found is None else [found.by_title.get(name, ()) for name in titles.media_ids]
            )
            contestants = stored_contestants(titles)
            if tagged is not None:
                contestants[TAGS] = tagged.columns.astype("float32")
            for name, uri in others:
                with closing(open_store(uri)) as opened_beside:
                    contestants[name] = other_vectors(name, opened_beside, titles.media_ids, contestants)
            # a block or tags that no title has are no misspelling
            named = {*contestants, FUSED, TAGS, *BLOCK_NAMES, POPULARITY, FACTORISATION}
            check_limits(limits, measures_of(named, next(iter(contestants)), k))
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
                viewings,
                settings.split,
                seed,
                tested=None if tested is None else tested[rows],
                held_out=named_new,
            )
            console = Console(stderr=True)
            with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
                result = run_coldstart(
                    contestants,
                    viewings,
                    settings,
                    split=split,
                    tags=contestants.get(TAGS),
                    columns=None if tagged is None else {TAGS: tagged.names},
                    progress=progress,
                )
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            raise typer.Exit(failed_with(error)) from error
    facts = {
        "store": store,
        "log": log if test is None else f"{log}, test {test}",
        "tags": "none that titles share" if tagged is None else tags or "stored with the titles",
        "fingerprint": opened.space.fingerprint,
        "trained": opened.space.trained,
        "titles": len(titles.media_ids),
        "titles_not_in_store": len(whole.media_ids) + len(more.media_ids) - len(titles.media_ids),
        "titles_not_in_log": len(more.media_ids),
        "titles_not_in_log_of_unknown_date": more.undated,
        "titles_not_in_log_left_out_as_later": more.later,
        "titles_not_in_log_left_out_by_lot": more.beyond,
        "rows_of_tags_of_other_titles": 0 if found is None else found.others,
        "held_out_not_found": len(set(named_new) - set(titles.media_ids)),
        "viewings": len(viewings),
        "completion": viewings.completion_is,
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
