"""What `resonance export` prints: tables of what was exported and of what was made of it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from resonance.export.cards import GraphReport
from resonance.export.quantise import MIXED, ArtifactReport, Trial, integer_unit
from resonance.export.reference import Reference


def export_table(reports: Iterable[GraphReport]) -> Table:
    """A row for each output tensor: how the ONNX graph compares with torch."""
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
    return table


def artifact_table(reports: Iterable[ArtifactReport], reference: Reference) -> Table:
    """A row for each artifact tried: how it compares with fp32, and whether it was taken."""
    unreadable = f", {reference.unreadable} files unreadable" if reference.unreadable else ""
    table = Table(
        *("graph", "artifact", "worst cosine", "worst difference", "in a batch", "MB", "speed", "verdict"),
        title=f"8 bits against fp32 on {reference.source}{unreadable}; "
        f"one thread, integer unit: {integer_unit()}",
        caption="in a batch: a row alone against the same row among others; speed: of fp32's, in turn",
    )
    for report in reports:
        for trial in report.trials:
            table.add_row(
                f"{report.model} ({report.rows} rows)",
                _name(trial),
                f"{trial.min_cosine:.6f}",
                f"{trial.max_abs:.1e}",
                f"{trial.batch_max_abs:.1e}",
                f"{report.fp32_bytes / 1e6:.1f} -> {trial.size_bytes / 1e6:.1f}",
                f"{trial.speed:.2f}",
                "; ".join(trial.refused) or "taken",
            )
        if report.taken() is None:
            size = f"{report.fp32_bytes / 1e6:.1f}"
            why = report.note or "no candidate held"
            table.add_row(report.model, report.chosen, "1", "0", "", size, "1", f"kept: {why}")
    return table


def _name(trial: Trial) -> str:
    if trial.artifact != MIXED:
        return trial.artifact
    return f"{trial.artifact} ({trial.fp32_layers} of {trial.layers} layers fp32)"
