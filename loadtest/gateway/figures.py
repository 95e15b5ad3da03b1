"""Numbers of a run: distributions, the machine they were taken on, tables and JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from resonance.loadtest.gateway.usage import CORES


@dataclass(frozen=True, slots=True)
class Spread:
    """How long things took, in milliseconds."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of durations in seconds; all 0 where there are none."""
        if not seconds:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        p50, p90, p99, top = (float(v) * 1e3 for v in np.percentile(seconds, (50, 90, 99, 100)))
        return cls(len(seconds), round(p50, 1), round(p90, 1), round(p99, 1), round(top, 1))

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:g}, p99 {self.p99_ms:g}, max {self.max_ms:g} ms (n {self.count})"


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    packages = ("grpcio", "onnxruntime", "nvidia-pytriton", "av", "numpy")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": CORES,
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
        **{name: version(name) for name in packages},
    }


def show(console: Console, title: str, figures: Any) -> None:
    """A table of a dataclass: a row a field, fields of fields with a dot between."""
    table = Table("figure", "value", title=title, title_justify="left")
    for name, value in _flat("", figures):
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    console.print(table)


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Spread):
        return [(prefix, str(value))]
    if is_dataclass(value) and not isinstance(value, type):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return [row for name, v in value.items() for row in _flat(f"{prefix}.{name}" if prefix else name, v)]
    return [(prefix, value)]


def to_json(figures: Any) -> Any:
    """A dataclass as values that JSON knows."""
    return asdict(figures) if is_dataclass(figures) and not isinstance(figures, type) else figures
