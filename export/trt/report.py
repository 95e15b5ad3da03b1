"""What `resonance export --target tensorrt` prints of the files it made."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from resonance.export.reference import Reference
from resonance.export.trt.build import NetworkReport


def network_table(reports: Sequence[NetworkReport], reference: Reference) -> Table:
    """For each graph the file made for TensorRT and how it compares with fp32 on onnxruntime."""
    table = Table(
        *("graph", "in fp16", "profiles", "1 - cosine", "abs", "rows", "MB", "s"),
        title=f"{' and '.join(sorted({r.artifact for r in reports}))} against fp32 on {reference.source}",
        caption="in fp16: nodes of the graph; 1 - cosine and abs: of the first output, the worst; rows: of "
        "reference media, and made-up batches at every profile",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for report in reports:
        parity, precision = report.parity, report.precision
        table.add_row(
            report.model,
            f"{precision.fp16_nodes} of {precision.nodes}",
            str(report.profiles),
            f"{max(0.0, 1.0 - parity.min_cosine):.1e}",
            f"{parity.max_abs:.1e}",
            f"{parity.rows} + {parity.made}",
            f"{report.size_bytes / 1e6:.1f}",
            f"{report.seconds:.1f}",
        )
    return table
