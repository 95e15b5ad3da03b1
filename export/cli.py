"""`resonance export`: a family into the model repository, with a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.export.trt.options import BuildOptions, HardwareCompatibility

if TYPE_CHECKING:
    from rich.console import Console

    from resonance.export.cards import FamilyCard, GraphReport
    from resonance.space.descriptor import Descriptor


class ExportTarget(StrEnum):
    """What is made of a family, beside its ONNX graphs."""

    ONNX = "onnx"
    AOTI = "aoti"
    TENSORRT_ONNX = "tensorrt-onnx"
    TENSORRT = "tensorrt"


class Device(StrEnum):
    """Where packages are compiled for."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


PLANS = (ExportTarget.TENSORRT, ExportTarget.TENSORRT_ONNX)


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
    target: Annotated[
        ExportTarget,
        typer.Option(
            help="onnx; aoti: also packages for PyTorch alone; tensorrt: also plans for this machine's GPU; "
            "tensorrt-onnx: also the graphs that plans are built from, checked on the CPU, without TensorRT."
        ),
    ] = ExportTarget.ONNX,
    device: Annotated[
        Device, typer.Option(help="What --target aoti compiles for; auto takes the GPU where there is one.")
    ] = Device.AUTO,
    configs_only: Annotated[
        bool, typer.Option("--configs-only", help="Write Triton's configs again and export nothing.")
    ] = False,
    axes: Annotated[
        Path | None,
        typer.Option("--axes", help="Axes to calibrate (TOML). [default: the family's own]"),
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
            help="Media to check --int8 or --target on (pictures, films, sounds, texts); else a sample."
        ),
    ] = None,
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
    """Export a family to ONNX, check it against torch and describe its space.

    Exit code 0: it stands in the model repository; 1: the family, its weights or its axes cannot be used,
    a graph is not equal to torch, another export is under way, or the repository cannot be written; 2: wrong
    use.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if configs_only:
        with _alone_in(console, repository):
            return

    from resonance.export.aoti import AotiError
    from resonance.export.aoti_cli import export_packages
    from resonance.export.axes import AxesFileError, read_axes
    from resonance.export.build import export_family
    from resonance.export.checkpoints import CheckpointError, ChoiceError
    from resonance.export.heads import unsaid, with_heads
    from resonance.export.onnx_export import ExportError
    from resonance.export.trt.cli import check_tensorrt, export_plans
    from resonance.export.weights import WeightsError
    from resonance.space.errors import CalibrationError

    packages = target is ExportTarget.AOTI
    checked = int8 or target is not ExportTarget.ONNX
    if reference_media is not None and not (checked and reference_media.is_dir()):
        console.print(
            f"--reference-media {reference_media} needs --int8 or --target, and a folder that is there"
        )
        raise typer.Exit(2)
    if int8 and target in PLANS:
        console.print(f"--int8 is for the CPU and --target {target.value} for the GPU: give one of them")
        raise typer.Exit(2)
    if target is ExportTarget.TENSORRT:
        check_tensorrt(console)
    try:
        card = chosen_card(family, checkpoint or [])
        if axes is not None:
            read_axes(axes)  # before a folder is made
        if heads is not None:
            card = with_heads(card, heads)
            if lacks := unsaid(heads):
                console.print(
                    f"{heads}: of an earlier version, it does not say which {lacks} it was made on; nothing "
                    f"tells whether they are those of {family}",
                    style="yellow",
                    markup=False,
                    soft_wrap=True,
                )
        with _alone_in(console, repository):  # to the end: what is derived is of this family, too
            # a space that stands there is left alone, unless axes or 8 bits are to be made of its fp32 graphs
            as_it_is = packages and axes is None and not int8
            if as_it_is and export_packages(console, card, repository, device.value, reference_media):
                return
            with console.status(f"exporting {family}") as status:
                descriptor, reports = export_family(
                    card,
                    repository,
                    axes=axes,
                    on_graph=lambda r: status.update(f"exporting {family}: {r.model} done"),
                )
            _print_exported(console, card, repository, descriptor, reports)
            if packages:
                export_packages(console, card, repository, device.value, reference_media)
            if int8:
                _quantise(console, card, repository, descriptor, reference_media)
            if target in PLANS:
                options = BuildOptions(version_compatible, hardware_compatibility, timing_cache)
                only_graphs = target is ExportTarget.TENSORRT_ONNX
                export_plans(
                    console, card, repository, descriptor, reference_media, options, only_graphs=only_graphs
                )
    except (
        CheckpointError,
        ChoiceError,
        ExportError,
        AotiError,
        AxesFileError,
        CalibrationError,
        WeightsError,
    ) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _print_exported(
    console: Console, card: FamilyCard, repository: Path, descriptor: Descriptor, reports: list[GraphReport]
) -> None:
    from resonance.export.report import export_table

    console.print(export_table(reports))
    total = sum(r.parameters for r in reports)
    console.print(
        f"space {descriptor.name} {descriptor.fingerprint[:12]}, trained: {str(descriptor.trained).lower()}, "
        f"{total:,} parameters -> {repository}"
    )
    if card.reference is None:
        console.print(f"{card.name} has no reference set: all sigmas are 1 and the space has no axes")
    else:
        console.print(f"calibrated on {card.reference}: {', '.join(descriptor.axes) or 'no axes'}")


@contextmanager
def _alone_in(console: Console, repository: Path) -> Iterator[None]:
    """No other export into `repository`, whose configs are as they should be. What cannot be written is told
    in one line."""
    from resonance.clients.errors import UsageError
    from resonance.export.new_paths import new_folder
    from resonance.export.repository import write_configs
    from resonance.export.staging import ExportUnderWayError, only_export

    try:
        new_folder(repository, "--model-repository")
        with only_export(repository):
            write_configs(repository)
            yield
    except (UsageError, ExportUnderWayError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    except OSError as error:
        console.print(
            f"{error.filename or repository}: {error.strerror or error}; expected rights to write into "
            f"{repository}, and room there for this export beside the one before",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from error


def _quantise(
    console: Console, card: FamilyCard, repository: Path, descriptor: Descriptor, media: Path | None
) -> None:
    from resonance.export.quantise import quantise_family
    from resonance.export.reference import reference_of
    from resonance.export.report import artifact_table, verdict_lines

    with console.status("reading reference media") as status:
        reference = reference_of(media, descriptor, card.tokenizer())
        status.update("trying 8 bits")
        reports = quantise_family(
            card, repository, reference, on_graph=lambda r: status.update(f"{r.model}: {r.chosen}")
        )
    console.print(artifact_table(reports, reference))
    for line in verdict_lines(reports):
        console.print(line, markup=False, highlight=False)


def chosen_card(family: str, pairs: list[str]) -> FamilyCard:
    """The card of `family` with the checkpoints that `pairs` name.

    Raises:
        CheckpointError: a checkpoint cannot be used.
        ChoiceError: no family has this name, `pairs` are wrong, or the family takes no checkpoints.
    """
    from resonance.export.checkpoints import ChoiceError, parse_overrides
    from resonance.export.families import FAMILIES, RECIPES

    known = sorted({*FAMILIES, *RECIPES})
    if family not in known:
        raise ChoiceError(f"no family is called '{family}'; known are {', '.join(known)}")
    recipe = RECIPES.get(family)
    if recipe is not None:
        return recipe.resolve(parse_overrides(pairs, recipe.models))
    if pairs:
        raise ChoiceError(f"family '{family}' takes no checkpoints; these do: {', '.join(sorted(RECIPES))}")
    return FAMILIES[family]
