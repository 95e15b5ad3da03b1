"""`resonance export`: a family into the model repository, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    family: Annotated[str, typer.Argument(help="Which family of encoders.")] = "tiny",
    repository: Annotated[Path, typer.Option("--model-repository", help="Where the models go.")] = Path(
        "model_repository"
    ),
    configs_only: Annotated[
        bool, typer.Option("--configs-only", help="Write Triton's configs again and export nothing.")
    ] = False,
    axes: Annotated[
        Path | None,
        typer.Option("--axes", help="Axes to calibrate (TOML). [default: export/families/axes.toml]"),
    ] = None,
) -> None:
    """Export a family to ONNX, check it against torch and describe its space."""
    from rich.console import Console
    from rich.table import Table

    from resonance.export.repository import write_configs

    console = Console(stderr=True)
    write_configs(repository)
    if configs_only:
        return

    from resonance.export.axes import DEFAULT_AXES, AxesFileError
    from resonance.export.build import export_family
    from resonance.export.cards import families
    from resonance.export.onnx_export import ExportError
    from resonance.space.errors import CalibrationError

    known = families()
    if family not in known:
        console.print(f"no family is called '{family}'; known are {', '.join(sorted(known))}")
        raise typer.Exit(2)
    try:
        with console.status(f"exporting {family}") as status:
            descriptor, reports = export_family(
                known[family],
                repository,
                axes=axes or DEFAULT_AXES,
                on_graph=lambda r: status.update(f"exporting {family}: {r.model} done"),
            )
    except (ExportError, AxesFileError, CalibrationError) as error:
        console.print(str(error), style="red", markup=False)
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
    if known[family].reference is None:
        console.print(f"{family} has no reference set: all sigmas are 1 and the space has no axes")
    else:
        console.print(f"calibrated on {known[family].reference}: {', '.join(descriptor.axes) or 'no axes'}")
