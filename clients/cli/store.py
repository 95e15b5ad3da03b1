"""`resonance validate`: whether a store is what it should be; `resonance remove`: titles leave it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from resonance.clients.cli.server_options import wrong_use


def validate(
    store: Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")],
    reference: Annotated[
        str | None, typer.Option(metavar="STORE", help="Say how far STORE has drifted from this one.")
    ] = None,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit with 1 where an axis moved much (PSI over 0.25).")
    ] = False,
    json_out: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Look at every vector of a store: counts, what is stored twice, norms, absent modalities, spaces, drift.

    Exit code 0: nothing is wrong; 1: faults were found, or the store cannot be read; 2: wrong use.
    """
    from rich.console import Console

    from resonance.clients.cli.reporting import say_failed
    from resonance.clients.errors import ResonanceError, UsageError, described
    from resonance.clients.ingest.stores import open_store
    from resonance.clients.ingest.validate import Faults, Profile, drift, examine
    from resonance.space.descriptor import MODALITIES
    from resonance.space.errors import SpaceError, SpaceMismatchError

    def examined(uri: str) -> tuple[str, Profile, Faults]:
        opened = open_store(uri, lenient=True)
        try:
            return opened.space.fingerprint, *examine(opened)
        finally:
            opened.close()

    with wrong_use():
        try:
            fingerprint, profile, faults = examined(store)
            moved = None
            if reference is not None:
                other, known, _ = examined(reference)
                if other != fingerprint:
                    raise SpaceMismatchError(fingerprint, other, reference)
                moved = drift(profile, known)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            say_failed(Console(stderr=True), described(error))
            raise typer.Exit(1) from error
    report: dict[str, Any] = {
        "store": store,
        "fingerprint": fingerprint,
        "titles": profile.titles,
        "segments": profile.segments,
        "hours": round(profile.media_s / 3600, 3),
        "absent": {
            name: round(1 - count / profile.titles, 4) if profile.titles else None
            for name, count in zip(MODALITIES, profile.present.tolist(), strict=True)
        },
        "damaged": asdict(profile.damaged),
        "faults": {
            kind: asdict(tally)
            for kind, tally in sorted(faults.kinds.items(), key=lambda found: -found[1].count)
        },
    }
    if moved is not None:
        report["drift"] = {"cosine_of_means": moved.cosine, "psi": moved.psi, "large": moved.large}
    if json_out:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        _show(report, Console())
    failed = bool(faults.kinds) or (fail_on_drift and moved is not None and bool(moved.large))
    raise typer.Exit(1 if failed else 0)


def remove(
    store: Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")],
    titles: Annotated[list[str], typer.Argument(metavar="TITLE...", help="By media id.")],
    journal: Annotated[
        Path | None,
        typer.Option(help="As --journal of `resonance ingest`. [default: where it is by default]"),
    ] = None,
) -> None:
    """Take titles out of a store, with their segments, and out of the journal of the job that stored them.

    A title that a catalogue of that job still has is embedded anew by the next one. Contours, saved tastes
    and recognised transcripts (--asr-cache) are files of their own and stay as they are.

    Exit code 0: all are gone; 1: some were not there, or the store cannot be written; 2: wrong use.
    """
    from rich.console import Console

    from resonance.clients.cli.reporting import say_failed, say_warning
    from resonance.clients.errors import ResonanceError, UsageError, described
    from resonance.clients.ingest.removal import remove_titles
    from resonance.clients.ingest.state_files import default_journal
    from resonance.clients.ingest.uris import check_utf_8
    from resonance.space.errors import SpaceError

    console = Console(stderr=True)
    with wrong_use():
        check_utf_8(store, "STORE")
        try:
            path = journal or default_journal(store)
            removed = remove_titles(store, path, titles)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            say_failed(console, described(error))
            raise typer.Exit(1) from error
    for name in removed.unknown:
        say_failed(console, f"{name}: no such title in {store}")
    if not removed.journal:
        say_warning(
            console,
            f"{path}: no journal there; the job that has one embeds them again if they are in its catalogue",
        )
    typer.echo(f"{removed.titles:,} removed")
    raise typer.Exit(1 if removed.unknown else 0)


def _show(report: dict[str, Any], console: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    from resonance.clients.media.text import shown

    table = Table(show_header=False, box=None)
    table.add_row("titles", f"{report['titles']:,}")
    table.add_row("segments", f"{report['segments']:,}")
    table.add_row("hours", f"{report['hours']:,.2f}")
    table.add_row("space", report["fingerprint"][:12])
    for name, share in report["absent"].items():
        table.add_row(f"without {name}", "–" if share is None else f"{share:.1%}")
    for name, value in report.get("drift", {}).get("cosine_of_means", {}).items():
        table.add_row(f"mean {name} against the reference", f"cosine {value:.4f}")
    for name, value in report.get("drift", {}).get("psi", {}).items():
        mark = "  [red]large[/red]" if name in report["drift"]["large"] else ""
        table.add_row(f"axis {escape(name)} against the reference", f"PSI {value:.3f}{mark}")
    console.print(table)

    def listed(found: dict[str, Any]) -> str:
        return str(escape(shown(", ".join(found["for_example"]))))

    if report["damaged"]["count"]:
        console.print(
            f"[yellow]{report['damaged']['count']:,} of media that could not be read in full[/yellow]: "
            f"{listed(report['damaged'])}; all of them: `resonance titles {escape(report['store'])} --json`, "
            "`damage`",
            soft_wrap=True,
        )
    for kind, fault in report["faults"].items():
        console.print(f"[red]{fault['count']:,} x {kind}[/red]: {listed(fault)}", soft_wrap=True)
    if not report["faults"]:
        console.print("no faults")
