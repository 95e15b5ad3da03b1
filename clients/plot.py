"""The arcs of titles as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resonance.clients.results import MediaEmbedding

COLOURS = {"pacing": "#c2410c", "energy": "#7c3aed", "brightness": "#b08900"}
#: Points further apart than this many seconds are not joined: there was nothing to measure between.
GAP_S = 20.0
MAX_LEGEND = 8


def plot_arcs(results: Sequence[MediaEmbedding], path: Path) -> None:
    """Draw one row an arc, all titles over the same seconds, into `path` (its ending names the format)."""
    names = list(results[0].arcs)
    figure = Figure(figsize=(9, 1.6 + 1.5 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        for order, result in enumerate(results):
            alone = len(results) == 1
            colour = COLOURS.get(name, "#1f6f8b") if alone else f"C{order % 10}"
            for piece, (times_s, values) in enumerate(_pieces(result.arcs[name])):
                label = Path(result.media).name if piece == 0 and order < MAX_LEGEND else None
                axis.plot(times_s, values, color=colour, linewidth=2, marker="o", markersize=3, label=label)
                if alone:
                    axis.fill_between(times_s, 0, values, color=colour, alpha=0.15, linewidth=0)
        axis.set_ylim(0, 1)
        axis.set_yticks((0, 0.5, 1))
        axis.set_ylabel(name)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        if not axis.lines:
            axis.text(0.5, 0.5, "not measurable", transform=axis.transAxes, ha="center", color="#888888")
    ends = [r.duration_s for r in results if r.duration_s]
    axes[-1].set_xlim(0, max(ends, default=1.0))
    axes[-1].set_xlabel("seconds")
    if len(results) == 1:
        figure.suptitle(Path(results[0].media).name, fontsize=11)
    else:
        axes[0].legend(loc="lower right", fontsize=7, ncols=2, frameon=False)
    figure.savefig(path, dpi=130)


def _pieces(points: Sequence[tuple[float, float]]) -> list[tuple[list[float], list[float]]]:
    """Runs of points without a gap, as times and values."""
    runs: list[tuple[list[float], list[float]]] = []
    for time_s, value in points:
        if not runs or time_s - runs[-1][0][-1] > GAP_S:
            runs.append(([], []))
        runs[-1][0].append(time_s)
        runs[-1][1].append(value)
    return runs
