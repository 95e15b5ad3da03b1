"""Pictures of the figures: what each way costs, where the time goes, and those of other parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resonance.loadtest.bench.scaling import ConcurrencyRow, LengthRow
from resonance.loadtest.bench.scaling_plots import BAR_COLOUR, plot_concurrency, plot_lengths
from resonance.loadtest.bench.serving_path import CPU_BAR

Rows = Sequence[Mapping[str, Any]]

_COLOURS = {"Triton": "#0072b2", "gateway and readers": "#009e73", "client": "#e69f00"}
_STAGES = {
    "queue_share": ("waiting for a place", "#bbbbbb"),
    "input_share": ("inputs", "#e69f00"),
    "infer_share": ("computing", "#0072b2"),
    "output_share": ("outputs", "#009e73"),
}


def plot_path(rows: Rows, path: Path) -> None:
    """CPU of an item by who spends it, over bare onnxruntime's; below it, time of requests at Triton."""
    figure = Figure(figsize=(8.4, 1.6 + 0.62 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    costs, shares = figure.subplots(2, 1)
    names = [f"{row['family']}: {row['item']}\n{row['through']}" for row in rows]
    places = range(len(rows))
    spent = {
        "Triton": [row["cpu_ratio"] * (1 - row["gateway_share"]) for row in rows],
        "gateway and readers": [row["cpu_ratio"] * row["gateway_share"] for row in rows],
        "client": [row["client_ratio"] for row in rows],
    }
    left = [0.0] * len(rows)
    for who, values in spent.items():
        costs.barh(places, values, left=left, color=_COLOURS[who], label=who, height=0.7)
        left = [at + value for at, value in zip(left, values, strict=True)]
    server = [row["cpu_ratio"] for row in rows]
    spread = [
        [row["cpu_ratio"] - min(row["cpu_ratios"]) for row in rows],
        [max(row["cpu_ratios"]) - row["cpu_ratio"] for row in rows],
    ]
    costs.errorbar(server, places, xerr=spread, fmt="none", ecolor="black", capsize=3, lw=1)
    costs.axvline(1, color="black", lw=0.8)
    costs.axvline(CPU_BAR, color=BAR_COLOUR, lw=0.8, ls="--", label=f"bar of Triton: {CPU_BAR:g}")
    costs.set_xlabel("CPU of an item, over the same work in one process (whiskers: server, all rounds)")
    left = [0.0] * len(rows)
    for column, (label, colour) in _STAGES.items():
        values = [100 * row[column] for row in rows]
        shares.barh(places, values, left=left, color=colour, label=label, height=0.7)
        left = [at + value for at, value in zip(left, values, strict=True)]
    shares.set_xlabel("time of requests at Triton, %")
    for axis in (costs, shares):
        axis.set_yticks(places, names, fontsize=7)
        axis.invert_yaxis()
        axis.grid(axis="x", lw=0.3)
        axis.set_axisbelow(True)
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _save(figure, path)


def _lengths(rows: Rows, path: Path) -> None:
    plot_lengths([LengthRow(**row) for row in rows], path)


def _concurrency(rows: Rows, path: Path) -> None:
    plot_concurrency([ConcurrencyRow(**row) for row in rows], path)


#: A picture of a part; those without one are told by their table.
PLOTS: dict[str, Callable[[Rows, Path], None]] = {
    "path": plot_path,
    "lengths": _lengths,
    "concurrency": _concurrency,
}


def draw(figures: Mapping[str, Any], name: str, folder: Path) -> dict[str, Path]:
    """A picture `NAME-PART.svg` in `folder` of each part that was measured and has one; by part."""
    drawn = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, plot in PLOTS.items():
        if figures.get(part):
            drawn[part] = folder / f"{name}-{part}.svg"
            # the same figures give the same file
            with matplotlib.rc_context({"svg.hashsalt": part}):
                plot(figures[part], drawn[part])
    return drawn


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Date": None})
