"""`resonance export`: a family into the model repository, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from resonance.export.cards import FamilyCard


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
) -> None:
    """Export a family to ONNX, check it against torch and describe its space."""
    from rich.console import Console
    from rich.table import Table

    from resonance.export.repository import write_configs

    console = Console(stderr=True)
    write_configs(repository)
    if configs_only:
        return

    from resonance.export.build import export_family
    from resonance.export.cards import families, recipes
    from resonance.export.checkpoints import CheckpointError, ChoiceError
    from resonance.export.onnx_export import ExportError

    known = sorted({*families(), *recipes()})
    if family not in known:
        console.print(f"no family is called '{family}'; known are {', '.join(known)}")
        raise typer.Exit(2)
    try:
        with console.status(f"exporting {family}") as status:
            descriptor, reports = export_family(
                _chosen(family, checkpoint or []),
                repository,
                on_graph=lambda r: status.update(f"exporting {family}: {r.model} done"),
            )
    except (CheckpointError, ChoiceError, ExportError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error

    table = Table("graph", "tensor", "worst cosine", "worst difference", "parameters", "MB", "s")
    for report in reports:
        for tensor in report.tensors:
            table.add_row(
                report.model,
                tensor.name,
                f"{tensor.min_cosine:.8f}",
                f"{tensor.max_abs:.1e}",
                f"{report.parameters:,}",
                f"{report.size_bytes / 1e6:.1f}",
                f"{report.seconds:.1f}",
            )
    console.print(table)
    total = sum(r.parameters for r in reports)
    console.print(
        f"space {descriptor.name} {descriptor.fingerprint[:12]}, trained: {str(descriptor.trained).lower()}, "
        f"{total:,} parameters -> {repository}"
    )


def _chosen(family: str, pairs: list[str]) -> FamilyCard:
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
