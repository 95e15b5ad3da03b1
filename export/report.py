"""What `resonance export` prints: tables of what was exported and of what was made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.table import Table

from resonance.export.cards import GraphReport
from resonance.export.quantise import FP32, ArtifactReport, integer_unit
from resonance.export.reference import Reference


def export_table(reports: Iterable[GraphReport]) -> Table:
    """A row for each output tensor: how the ONNX graph compares with torch."""
    table = Table(
        *("graph", "tensor", "cosine", "abs", "M", "MB", "s"),
        caption="worst cosine and difference of a row; M: parameters in millions; s: to export and check",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in table.columns[:2]:
        column.no_wrap = True  # in 80 columns names stay whole
    for report in reports:
        for tensor in report.tensors:
            table.add_row(
                report.model,
                tensor.name,
                f"{tensor.min_cosine:.8f}",
                f"{tensor.max_abs:.1e}",
                f"{report.parameters / 1e6:.2f}",
                f"{report.size_bytes / 1e6:.1f}",
                f"{report.seconds:.1f}",
            )
    return table


def artifact_table(reports: Iterable[ArtifactReport], reference: Reference) -> Table:
    """For each encoder fp32 and every artifact tried, on one row each."""
    unreadable = f", {reference.unreadable} files unreadable" if reference.unreadable else ""
    table = Table(
        *("graph", "artifact", "cosine", "abs", "batch", "MB", "speed"),
        title=f"8 bits against fp32 on {reference.source}{unreadable}",
        caption="worst cosine and difference of a vector; batch: worst difference between a row alone and "
        "the same row among others; speed: times fp32's, side by side, 1 thread, 1 item, "
        f"integer unit {integer_unit()}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for report in reports:
        table.add_row(report.model, FP32, "1", "0", "", f"{report.fp32_bytes / 1e6:.1f}", "1.00")
        for trial in report.trials:
            table.add_row(
                "",
                trial.artifact,
                f"{trial.min_cosine:.6f}",
                f"{trial.max_abs:.1e}",
                f"{trial.batch_max_abs:.1e}",
                f"{trial.size_bytes / 1e6:.1f}",
                f"{trial.speed:.2f}",
            )
    return table


def verdict_lines(reports: Iterable[ArtifactReport]) -> Iterator[str]:
    """What was chosen for each encoder, and why not what was tried before it."""
    for report in reports:
        taken = report.taken()
        line = f"{report.model}: {report.chosen} on {report.rows} rows, floor {report.floor:g}"
        if taken is None:
            line += f"; fp32 kept: {report.note or 'no candidate held'}"
        elif taken.speed < 1.0:
            line += f"; smaller, but SLOWER than fp32 here ({taken.speed:.2f})"
        yield line
        for trial in report.trials:
            layers = f", {trial.layers - trial.fp32_layers} of {trial.layers} linear layers in 8 bits"
            yield f"  {trial.artifact}{layers if trial.layers else ''}: {'; '.join(trial.refused) or 'taken'}"
