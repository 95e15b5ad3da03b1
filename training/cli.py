"""`resonance train-tiny`, `evaluate-tiny` and `align`: spaces are made here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from resonance.clients.audit.bias_feed import BiasFeed
    from resonance.training.world.measure import Row

WORK = Path("build/train")
T = TypeVar("T")


def train_tiny(
    recipe: Annotated[
        str, typer.Option(help="cpu, gpu, gpu-short or smoke; by default what the machine has.")
    ] = "",
    work: Annotated[Path, typer.Option(help="Where the rendered world and checkpoints go.")] = WORK,
    weights: Annotated[
        Path | None, typer.Option(help="Where the weights go. [default: beside the work]")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Replace the weights of the family in the repository.")
    ] = False,
) -> None:
    """Render the procedural world and train the family `tiny` on it; a stopped run goes on."""
    from resonance.training.tuning import restart_tuned

    restart_tuned()
    import shutil

    import torch
    from rich.console import Console

    from resonance.export.families import tiny
    from resonance.export.new_paths import new_file, new_folder
    from resonance.training.loop import DivergedError, ResumeError, default_device
    from resonance.training.plot import plot_losses
    from resonance.training.recipes import RECIPES
    from resonance.training.tiny import train_tiny as run
    from resonance.training.tiny import write_reference

    console = Console(stderr=True)
    device = default_device()
    chosen = recipe or ("gpu" if device.type == "cuda" else "cpu")
    settings = _known(console, "recipe", chosen, RECIPES)
    folder = work / chosen
    target = weights or folder / tiny.WEIGHTS.name
    with _wrong_use(console):
        new_folder(folder, "--work")
        new_file(target, "--weights")
    console.print(f"recipe {chosen} ({settings.summary}) on {device.type} -> {target}")
    workers = torch.get_num_threads()
    try:
        seconds = run(
            settings, folder, target, workers=workers, device=device, note=lambda line: console.print(line)
        )
    except (DivergedError, ResumeError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    reference = target.with_name(tiny.REFERENCE.name)
    write_reference(target, reference, folder / "reference", workers=workers, device=device)
    plot_losses(folder / "towers" / "losses.csv", folder / "encoders.png", "encoders")
    plot_losses(folder / "fusion" / "losses.csv", folder / "fusion.png", "fusion head")
    console.print(f"{sum(seconds.values()) / 60:.1f} min in all; losses: {folder}/encoders.png, fusion.png")
    if install:
        shutil.copyfile(target, tiny.WEIGHTS)
        shutil.copyfile(reference, tiny.REFERENCE)
        console.print("installed; run `resonance export tiny` to serve it")


def evaluate_tiny(
    weights: Annotated[Path | None, typer.Option(help="Weights to measure. [default: the committed]")] = None,
    recipe: Annotated[str, typer.Option(help="Whose held-out titles: cpu, gpu, gpu-short or smoke.")] = "cpu",
    work: Annotated[Path, typer.Option(help="Where the rendered world goes.")] = WORK,
    trained_combinations: Annotated[
        bool,
        typer.Option(
            help="Of new titles whose setting and subject are independent, as in training: held out, a "
            "setting has subjects of one shape and call alone."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="A JSON written before; fail where a figure fell by 2 points.")
    ] = None,
) -> None:
    """Measure `tiny` on combinations and melodies it was never trained on, beside chance and an oracle."""
    from resonance.training.tuning import restart_tuned

    restart_tuned()
    import torch
    from rich.console import Console

    from resonance.export.families import tiny
    from resonance.export.new_paths import new_folder
    from resonance.training.evaluate import evaluate, world_facts
    from resonance.training.figures import fallen, read_figures
    from resonance.training.loop import default_device
    from resonance.training.recipes import RECIPES
    from resonance.training.tiny import load_modules
    from resonance.training.world.pool import load_or_render

    console = Console(stderr=True)
    device = default_device()
    settings, folder = _known(console, "recipe", recipe, RECIPES).evaluation, work / recipe / "evaluation"
    if trained_combinations:
        settings = replace(settings, held_out=False, seed=settings.seed + 1)
        folder = folder.with_name("evaluation-trained")
    with _wrong_use(console):
        before = {} if against is None else read_figures(against)
        modules = load_modules(weights or tiny.WEIGHTS)
        new_folder(work / recipe, "--work")
    with console.status("rendering titles") as status:
        pool = load_or_render(
            folder,
            settings,
            workers=torch.get_num_threads(),
            on_progress=lambda done, total: status.update(f"rendered {done:,} of {total:,} segments"),
        )
        status.update("measuring")
        rows = evaluate(pool, modules, load_modules(None), device)
    figures = {row.name: row.value for row in rows}
    if as_json:
        typer.echo(json.dumps({"figures": figures, "entropy_bits": world_facts(pool)}, indent=1))
    else:
        _print_rows(rows, world_facts(pool), "new titles" if trained_combinations else "held-out titles")
    lines = fallen(figures, before)
    for line in lines:
        console.print(line, style="red", markup=False, soft_wrap=True)
    if lines:
        raise typer.Exit(1)


@contextmanager
def _wrong_use(console: Console) -> Iterator[None]:
    """What cannot be used is told in one line before the work; exit code 2."""
    from resonance.clients.errors import UsageError
    from resonance.export.weights import WeightsError

    try:
        yield
    except (UsageError, WeightsError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error


def _known(console: Console, kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        console.print(f"no {kind} is called '{name}'; known are {', '.join(known)}")
        raise typer.Exit(2)
    return known[name]


def _print_rows(rows: list[Row], facts: dict[str, float], titles: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(titles, "tiny", "oracle", "of oracle", "chance", "baselines")
    for row in rows:
        baselines = ", ".join(f"{name} {value:.3f}" for name, value in (row.baselines or {}).items())
        table.add_row(
            row.name,
            f"{row.value:.3f}",
            "" if row.oracle is None else f"{row.oracle:.3f}",
            "" if row.oracle is None else f"{row.value / row.oracle:.3f}",
            f"{row.chance:.3f}",
            baselines,
        )
    console = Console(width=160)
    console.print(table)
    console.print("entropy in bits: " + ", ".join(f"{name} {bits:.2f}" for name, bits in facts.items()))


def align(
    source: Annotated[Path, typer.Argument(help="A folder of media, or a manifest (CSV, JSON lines).")],
    family: Annotated[str, typer.Option(help="Whose encoders; they stand still.")] = "tiny",
    checkpoint: Annotated[
        list[str] | None, typer.Option("--checkpoint", metavar="MODEL=FOLDER_OR_ID", help="As in export.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where features and checkpoints are kept.")] = Path(
        "build/align"
    ),
    heads: Annotated[Path, typer.Option(help="Where the heads go (.safetensors).")] = Path(
        "build/align/heads.safetensors"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Steps for the projections.")] = 500,
    fusion_steps: Annotated[int, typer.Option(min=1, help="Steps for the fusion head.")] = 300,
    balance: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="How far to even out the manifest's groups in the loss: 0 counts rows, 1 counts groups.",
        ),
    ] = 0.0,
    hardness: Annotated[
        float, typer.Option(help="How much more near negatives count; 0 is all alike.")
    ] = 0.0,
    fairness: Annotated[
        Path | None,
        typer.Option(
            metavar="FEED", help="Of `resonance audit bias --feed`: make blocks say less of its groups."
        ),
    ] = None,
    fairness_weight: Annotated[
        float, typer.Option(min=0.0, help="Of that, beside the alignment; more takes more of recall.")
    ] = 8.0,
) -> None:
    """Align a family's encoders on your own media: what occurs together in a segment belongs together.

    Exit code 0: the heads were written; 1: there is too little to learn from, or the media, the family, the
    feed or an earlier run cannot be used; 2: wrong use.
    """
    from resonance.training.tuning import restart_tuned

    restart_tuned()

    from rich.console import Console
    from rich.progress import Progress

    from resonance.clients.audit.bias_feed import read_feed
    from resonance.clients.errors import UsageError
    from resonance.clients.new_files import check_ending, check_no_input
    from resonance.export.checkpoints import CheckpointError, ChoiceError
    from resonance.export.cli import chosen_card
    from resonance.export.new_paths import new_file, new_folder
    from resonance.training.align import align_family
    from resonance.training.fairness import FairnessError, audited_groups
    from resonance.training.features import (
        FeatureExtractor,
        ManifestError,
        cache_features,
        entries,
    )
    from resonance.training.heads import HeadSettings, TooLittleError
    from resonance.training.loop import DivergedError, ResumeError, default_device

    console = Console(stderr=True)
    with _wrong_use(console):
        new_folder(work, "--work")
        new_file(heads, "--heads")
        check_ending(heads, "--heads", ".safetensors")
        weights = [Path(pair.partition("=")[2], heads.name) for pair in checkpoint or []]
        check_no_input(heads, [source, fairness, *weights])
    try:
        card = chosen_card(family, checkpoint or [])
        titles = entries(source)
        feed = read_feed(fairness) if fairness else None
        of_feed = audited_groups(feed, titles) if feed else []
        extractor = FeatureExtractor(card)
        with Progress(console=console) as progress:
            task = progress.add_task("encoding titles", total=len(titles))

            def on_title(done: int, total: int, problem: str) -> None:
                progress.update(task, completed=done)
                if problem:
                    progress.console.print(problem, style="yellow", markup=False, soft_wrap=True)

            found = cache_features(extractor, titles, work / "features", on_title=on_title)
        files = [file for file in found if file is not None]
        groups = [title.group for file, title in zip(found, titles, strict=True) if file is not None]
        base = HeadSettings()
        settings = replace(
            base,
            loop=replace(base.loop, steps=steps),
            fusion=replace(base.fusion, loop=replace(base.fusion.loop, steps=fusion_steps)),
            balance=balance,
            hardness=hardness,
            fairness=fairness_weight if feed else 0.0,
        )
        audited = None
        if feed is not None:
            console.print(_audited_line(feed, of_feed), markup=False, highlight=False)
        if feed is not None and feed.dimensions:
            audited = [of for file, of in zip(found, of_feed, strict=True) if file is not None]
        device = default_device()
        report = align_family(card, files, settings, work, heads, device, groups=groups, audited=audited)
    except (
        CheckpointError, ChoiceError, DivergedError, FairnessError, ManifestError, ResumeError,
        TooLittleError, UsageError,
    ) as error:  # fmt: skip
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    out = Console(soft_wrap=True)
    for line in report.lines():
        out.print(line, markup=False, highlight=False)
    out.print(f"heads -> {heads}; export them, and start the server again:", markup=False, highlight=False)
    out.print(_export_command(family, checkpoint or [], heads), markup=False, highlight=False)


def _export_command(family: str, checkpoints: Sequence[str], heads: Path) -> str:
    """With the encoders that the heads were made on: on others they mean nothing."""
    encoders = [word for pair in checkpoints for word in ("--checkpoint", pair)]
    return shlex.join(["resonance", "export", family, *encoders, "--heads", str(heads)])


def _audited_line(feed: BiasFeed, groups: Sequence[tuple[int, ...]]) -> str:
    """What the fairness term is about."""
    if not feed.dimensions:
        return f"fairness: no group of {feed.store} deviates, so there is no term"
    known = sum(max(of) >= 0 for of in groups)  # -1: not known
    names = ", ".join(
        f"{dimension}={group}"
        for dimension, of in zip(feed.dimensions, feed.groups, strict=True)
        for group in of
    )
    return f"fairness: {known} of {len(groups)} titles have a known group; those that deviate: {names}"
