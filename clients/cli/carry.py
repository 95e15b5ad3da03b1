"""`resonance carry` and `resonance carry-taste`: moving to a new space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.audit_options import (
    HtmlOption,
    JsonOption,
    LimitOption,
    check_written,
    make_limits,
)
from resonance.clients.cli.new_file_option import writable
from resonance.clients.cli.server_options import wrong_use

if TYPE_CHECKING:
    from resonance.space.descriptor import Descriptor

OldSpaceOption = Annotated[Path | None, typer.Option(help="space.json of OLD's space.")]
NewSpaceOption = Annotated[Path | None, typer.Option(help="space.json of NEW's space.")]

#: Of the true new list of 10, a carried vector must find so much: docs/carrying.md has what it was chosen by.
FLOOR = 0.2
#: `FEWEST_MATCHED`, under which there is no move; not imported, for a command's help needs no numpy.
FEWEST = 150


def carry(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The store of the old space.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The store of the new space.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Where the map goes; its report beside it as .json.", callback=writable
        ),
    ] = Path("carry.npz"),
    floor: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Refuse below this overlap with the true new neighbours at 10."),
    ] = FLOOR,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            help="A threshold of scores in OLD to carry; needs both space.json; may be given again."
        ),
    ] = None,
    old_space: OldSpaceOption = None,
    new_space: NewSpaceOption = None,
    titles: Annotated[int, typer.Option(min=FEWEST, help="Titles to look at, at most.")] = 10_000,
    variant: Annotated[
        str | None,
        typer.Option(
            help="How to carry: 'one rotation', 'a rotation a block', or one of them with ', centred' "
            "behind. [default: what held-out titles say]"
        ),
    ] = None,
    limit: LimitOption = None,
    json_out: JsonOption = False,
    html: HtmlOption = None,
) -> None:
    """Fit a map from OLD's space to NEW's on titles that stand in both, and say what a move costs.

    Exit code 0: the map was written; 1: it was refused, or a store cannot be read; 2: wrong use.
    """
    from contextlib import closing

    from resonance.clients.audit.report import Limit
    from resonance.clients.carrying.files import CarryFile, save_carrying
    from resonance.clients.carrying.fitting import fit_move
    from resonance.clients.carrying.matching import match_titles
    from resonance.clients.carrying.reporting import MEASURES, TRUE, report_move
    from resonance.clients.carrying.thresholds import carry_threshold
    from resonance.clients.cli.audit_options import finish
    from resonance.clients.errors import ResonanceError, UsageError
    from resonance.clients.ingest.stores import open_store
    from resonance.clients.new_files import check_ending, check_new_file, check_own_json, whole_file
    from resonance.space.errors import SpaceError
    from resonance.space.scores import own_sigmas, require_same_space

    limits = (Limit(TRUE, least=floor), *make_limits(limit, MEASURES))
    with wrong_use():
        check_ending(out, "--out", ".npz")
        beside = out.with_suffix(".json")
        check_new_file(beside)
        check_written(html, [old, new, old_space, new_space], beside)
        check_own_json(beside, ("titles_in_both", "fitted_on"), "report of `resonance carry`")
        if threshold and (old_space is None or new_space is None):
            raise UsageError("a threshold needs --old-space and --new-space: their sigmas are in every score")
        try:
            with closing(open_store(old)) as before, closing(open_store(new)) as after:
                matched = match_titles(before, after, titles)
            carried = []
            if threshold:
                descriptors = _descriptor(old_space), _descriptor(new_space)
                for descriptor, space, store in zip(
                    descriptors, (matched.old_space, matched.new_space), (old, new), strict=True
                ):
                    require_same_space(
                        space.fingerprint, descriptor.fingerprint, f"the space.json given for {store}"
                    )
                sigmas = [own_sigmas(descriptor) for descriptor in descriptors]
                carried = [carry_threshold(t, matched.old, matched.new, *sigmas) for t in threshold]
            move = fit_move(matched, variant=variant)
            report = report_move(old, new, matched, move, carried, limits)
            if not report.broken():
                save_carrying(CarryFile(move.carrying, matched.old_space, matched.new_space), out)
                with whole_file(beside) as half:
                    half.write_text(report.to_json() + "\n", encoding="utf-8")
        except UsageError:
            raise
        except (ResonanceError, SpaceError, OSError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
    there = f" (the {out} that is there is of an earlier run)" if out.exists() else ""
    for verdict in report.verdicts():
        typer.echo(f"refused, {out} is not written{there}: {verdict}", err=True)
    finish(report, json_out=json_out, html=html)


def carry_taste(
    carried: Annotated[Path, typer.Argument(metavar="CARRY.npz", help="What `resonance carry` wrote.")],
    taste: Annotated[Path, typer.Argument(metavar="TASTE.json", help="Of `resonance taste --save`.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE.json", help="Where the new taste goes.", callback=writable),
    ],
    new_space: Annotated[Path, typer.Option(help="space.json of the new space.")],
) -> None:
    """Carry a saved taste to the new space, for `search` and `reel`.

    Exit code 0: it was written; 1: it is of other spaces; 2: wrong use, or a file that is none.
    """
    from resonance.clients.carrying.files import load_carrying
    from resonance.clients.carrying.tastes import carry_taste as carry_one
    from resonance.clients.discovery.taste import read_taste, save_taste
    from resonance.clients.new_files import check_ending, check_no_input
    from resonance.space.errors import SpaceError

    with wrong_use():
        check_no_input(out, [carried, taste, new_space])
        check_ending(out, "--out", ".json")
        try:
            file = load_carrying(carried)
            known = read_taste(taste)
            save_taste(carry_one(known, file, _descriptor(new_space)), out)
            typer.echo(f"{out}: {len(known.counted)} titles count as before, in space {file.new_space.name}")
        except SpaceError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


def _descriptor(path: Path | None) -> Descriptor:
    from resonance.space.descriptor import Descriptor

    assert path is not None, "asked for where it is needed"
    return Descriptor.load(path)
