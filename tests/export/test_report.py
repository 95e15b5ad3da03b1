"""What `resonance export` prints."""

from __future__ import annotations

from rich.console import Console

from resonance.export.cards import GraphReport, TensorReport
from resonance.export.contract import GRAPHS
from resonance.export.report import export_table


def test_names_of_graphs_and_tensors_are_whole_in_80_columns() -> None:
    reports = [
        GraphReport(
            graph.name,
            parameters=123_456_789,
            size_bytes=493_827_156,
            seconds=123.4,
            weights_sha256="",
            tensors=[TensorReport(tensor.name, 1.2e-6, 0.99999999) for tensor in graph.outputs],
        )
        for graph in GRAPHS
    ]
    console = Console(width=80, record=True)
    console.print(export_table(reports))
    shown = console.export_text()
    for report in reports:
        assert report.model in shown
        assert all(tensor.name in shown for tensor in report.tensors)
    assert "0.99999999" in shown
    assert "…" not in shown
