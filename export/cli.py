"""`resonance export`: a family into the model repository, with a report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.export.trt.options import BuildOptions, HardwareCompatibility

if TYPE_CHECKING:
    from rich.console import Console

    from resonance.export.cards import FamilyCard
    from resonance.export.reference import Reference
    from resonance.export.trt.build import NetworkReport
    from resonance.space.descriptor import Descriptor


class Target(StrEnum):
    """What is made of a family."""

    ONNX = "onnx"
    TENSORRT_ONNX = "tensorrt-onnx"
    TENSORRT = "tensorrt"


def export(
    family: Annotated[str, typer.Argument(help="Which family of encoders.")] = "tiny",
    repository: Annotated[Path, typer.Option("--model-repository", help="Where the models go.")] = Path(
        "model_repository"
    ),
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=FOLDER_OR_ID",
            help="Weights of one pretrained encoder; MODEL is visual_encoder, audio_encoder or "
            "transcript_encoder. Can be given for each.",
        ),
    ] = None,
    configs_only: Annotated[
        bool, typer.Option("--configs-only", help="Write Triton's configs again and export nothing.")
    ] = False,
    axes: Annotated[
        Path | None,
        typer.Option("--axes", help="Axes to calibrate (TOML). [default: export/families/axes.toml]"),
    ] = None,
    heads: Annotated[
        Path | None, typer.Option("--heads", help="Projections and fusion head from `resonance align`.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Encoders in 8 bits for the CPU, where they stay equal to fp32.")
    ] = False,
    reference_media: Annotated[
        Path | None,
        typer.Option(
            help="Pictures, films, sounds and texts to check --int8 and TensorRT on; else a rendered sample."
        ),
    ] = None,
    target: Annotated[
        Target,
        typer.Option(
            help="onnx; tensorrt: also plans for this machine's GPU; tensorrt-onnx: also the graphs that "
            "plans are built from, checked on the CPU, without TensorRT."
        ),
    ] = Target.ONNX,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Plans for later TensorRT too, of the same major version."),
    ] = False,
    hardware_compatibility: Annotated[
        HardwareCompatibility, typer.Option(help="Plans for which other GPUs.")
    ] = HardwareCompatibility.NONE,
    timing_cache: Annotated[
        Path | None,
        typer.Option(help="TensorRT's timings between builds. [default: a file in your cache folder]"),
    ] = None,
) -> None:
    """Export a family to ONNX, check it against torch and describe its space."""
    from rich.console import Console

    from resonance.export.repository import write_configs

    console = Console(stderr=True)
    write_configs(repository)
    if configs_only:
        return

    from resonance.export.axes import DEFAULT_AXES, AxesFileError
    from resonance.export.build import export_family
    from resonance.export.cards import families, recipes
    from resonance.export.checkpoints import CheckpointError, ChoiceError
    from resonance.export.heads import with_heads
    from resonance.export.onnx_export import ExportError
    from resonance.export.report import export_table
    from resonance.export.weights import WeightsError
    from resonance.space.errors import CalibrationError

    checked = int8 or target is not Target.ONNX
    if reference_media is not None and not (checked and reference_media.is_dir()):
        console.print(
            f"--reference-media {reference_media} needs --int8 or --target, and a folder that is there"
        )
        raise typer.Exit(2)
    if int8 and target is not Target.ONNX:
        console.print(f"--int8 is for the CPU and --target {target.value} for the GPU: give one of them")
        raise typer.Exit(2)
    if target is Target.TENSORRT:
        _check_tensorrt(console)
    known = sorted({*families(), *recipes()})
    if family not in known:
        console.print(f"no family is called '{family}'; known are {', '.join(known)}")
        raise typer.Exit(2)
    try:
        card = chosen_card(family, checkpoint or [])
        if heads is not None:
            card = with_heads(card, heads)
        with console.status(f"exporting {family}") as status:
            descriptor, reports = export_family(
                card,
                repository,
                axes=axes or DEFAULT_AXES,
                on_graph=lambda r: status.update(f"exporting {family}: {r.model} done"),
            )
    except (
        CheckpointError,
        ChoiceError,
        ExportError,
        AxesFileError,
        CalibrationError,
        WeightsError,
    ) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error

    console.print(export_table(reports))
    total = sum(r.parameters for r in reports)
    console.print(
        f"space {descriptor.name} {descriptor.fingerprint[:12]}, trained: {str(descriptor.trained).lower()}, "
        f"{total:,} parameters -> {repository}"
    )
    if card.reference is None:
        console.print(f"{family} has no reference set: all sigmas are 1 and the space has no axes")
    else:
        console.print(f"calibrated on {card.reference}: {', '.join(descriptor.axes) or 'no axes'}")
    if int8:
        _quantise(console, card, repository, descriptor, reference_media)
    if target is not Target.ONNX:
        options = BuildOptions(version_compatible, hardware_compatibility, timing_cache)
        _tensorrt(console, card, repository, descriptor, reference_media, target, options)


def _quantise(
    console: Console, card: FamilyCard, repository: Path, descriptor: Descriptor, media: Path | None
) -> None:
    from resonance.export.quantise import quantise_family
    from resonance.export.report import artifact_table, verdict_lines

    with console.status("reading reference media") as status:
        reference = _reference(card, descriptor, media)
        status.update("trying 8 bits")
        reports = quantise_family(
            card, repository, reference, on_graph=lambda r: status.update(f"{r.model}: {r.chosen}")
        )
    console.print(artifact_table(reports, reference))
    for line in verdict_lines(reports):
        console.print(line, markup=False, highlight=False)


def _reference(card: FamilyCard, descriptor: Descriptor, media: Path | None) -> Reference:
    """Rows of `media`, or of the rendered sample."""
    from resonance.export.reference import read_reference, sample_reference

    tokenizer = card.tokenizer()
    if media is None:
        return sample_reference(descriptor, tokenizer)
    return read_reference(media, descriptor, tokenizer)


def _check_tensorrt(console: Console) -> None:
    """Ends the command before minutes of export where plans cannot be built anyway."""
    from resonance.export.trt.build import require_tensorrt
    from resonance.export.trt.errors import TensorRTError

    try:
        require_tensorrt()
    except TensorRTError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _tensorrt(
    console: Console,
    card: FamilyCard,
    repository: Path,
    descriptor: Descriptor,
    media: Path | None,
    target: Target,
    options: BuildOptions,
) -> None:
    from resonance.export.report import network_table
    from resonance.export.trt.build import build_plans, make_networks
    from resonance.export.trt.errors import TensorRTError

    try:
        with console.status("reading reference media") as status:
            reference = _reference(card, descriptor, media)
            status.update("making graphs for TensorRT")

            def done(report: NetworkReport) -> None:
                status.update(f"{report.model}: {report.artifact} done")

            reports = (
                build_plans(card, repository, descriptor, reference, options, on_graph=done)
                if target is Target.TENSORRT
                else make_networks(card, repository, descriptor, reference, on_graph=done)
            )
    except TensorRTError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(network_table(reports, reference))


def chosen_card(family: str, pairs: list[str]) -> FamilyCard:
    """The card of `family` with the checkpoints that `pairs` name.

    Raises:
        CheckpointError: a checkpoint cannot be used.
        ChoiceError: `pairs` are wrong, or the family takes no checkpoints.
    """
    from resonance.export.cards import families, recipes
    from resonance.export.checkpoints import ChoiceError, parse_overrides

    recipe = recipes().get(family)
    if recipe is not None:
        return recipe.resolve(parse_overrides(pairs, recipe.models))
    if pairs:
        raise ChoiceError(f"family '{family}' takes no checkpoints; these do: {', '.join(sorted(recipes()))}")
    return families()[family]
