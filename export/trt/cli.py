"""The part of `resonance export` that builds TensorRT plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from resonance.export.reference import reference_of
from resonance.export.trt.build import build_plans, make_networks, require_tensorrt
from resonance.export.trt.errors import TensorRTError
from resonance.export.trt.report import network_table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from resonance.export.cards import FamilyCard
    from resonance.export.trt.build import NetworkReport
    from resonance.export.trt.options import BuildOptions
    from resonance.space.descriptor import Descriptor


def check_tensorrt(console: Console) -> None:
    """Ends the command before minutes of export where plans cannot be built anyway."""
    try:
        require_tensorrt()
    except TensorRTError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def export_plans(
    console: Console,
    card: FamilyCard,
    repository: Path,
    descriptor: Descriptor,
    media: Path | None,
    options: BuildOptions,
    *,
    only_graphs: bool,
) -> None:
    """Plans for this machine's GPU, or only the graphs that plans are built from; ends in a table."""
    try:
        with console.status("reading reference media") as status:
            reference = reference_of(media, descriptor, card.tokenizer())
            status.update("making graphs for TensorRT")

            def done(report: NetworkReport) -> None:
                status.update(f"{report.model}: {report.artifact} done")

            reports = (
                make_networks(card, repository, descriptor, reference, on_graph=done)
                if only_graphs
                else build_plans(card, repository, descriptor, reference, options, on_graph=done)
            )
    except TensorRTError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(network_table(reports, reference))
