"""Pictures of `scaling`: cost over length, throughput over titles at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from resonance.loadtest.bench.scaling import COST_BAR, THROUGHPUT_BAR, ConcurrencyRow, LengthRow, Way

COST_COLOUR, MEMORY_COLOUR, BAR_COLOUR = "#0072b2", "#e69f00", "#555555"
WAYS = {
    Way.SDK: ("#0072b2", "SDK against Triton"),
    Way.GATEWAY: ("#009e73", "uploads, callers wait in the gateway"),
    Way.GATEWAY_DEFAULTS: ("#cc79a7", "uploads, default limits: callers come again"),
}


def plot_lengths(rows: Sequence[LengthRow], path: Path) -> None:
    """Cost of an hour of video and the client's memory over the title's length."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    cost, memory = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1.2])
    minutes, costs = [r.minutes for r in rows], [r.cost for r in rows]
    below = [r.cost - r.lowest_cost for r in rows]
    above = [r.highest_cost - r.cost for r in rows]
    cost.errorbar(minutes, costs, [below, above], color=COST_COLOUR, marker="o", capsize=3, lw=1.2)
    _bar(cost, COST_BAR, f"bar: {COST_BAR:g}")
    cost.set_ylim(0, max(1.3, *(r.highest_cost * 1.1 for r in rows)))
    cost.set_ylabel("CPU for an hour of video,\nover the cheapest length's")
    cost.legend(loc="lower right", fontsize=8)
    memory.plot(minutes, [r.client_peak_mb for r in rows], color=MEMORY_COLOUR, marker="o", lw=1.2)
    memory.set_ylim(0, 1.2 * max(r.client_peak_mb for r in rows))
    memory.set_ylabel("client's peak, MB")
    memory.set_xlabel("length of the title, minutes")
    _ticks(memory, minutes)
    figure.savefig(path, dpi=110)


def plot_concurrency(rows: Sequence[ConcurrencyRow], path: Path) -> None:
    """Throughput over titles at once, over the best of each way in."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for way, (colour, label) in WAYS.items():
        own = [r for r in rows if r.through == way]
        if not own:
            continue
        levels, shares = [r.concurrent for r in own], [r.of_best for r in own]
        below = [r.of_best - r.lowest_of_best for r in own]
        axis.errorbar(
            levels,
            shares,
            [below, [0.0] * len(own)],
            color=colour,
            marker="o",
            capsize=3,
            lw=1.2,
            label=label,
        )
    _bar(axis, THROUGHPUT_BAR, f"bar at the right end: {THROUGHPUT_BAR:g}")
    axis.set_ylim(0, 1.05)
    axis.set_ylabel("seconds of media a second,\nover the best of the round")
    axis.set_xlabel("titles at once")
    _ticks(axis, sorted({r.concurrent for r in rows}))
    axis.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def _bar(axis: Axes, at: float, label: str) -> None:
    axis.axhline(at, color=BAR_COLOUR, lw=0.8, ls="--", label=label)
    axis.grid(axis="y", lw=0.3)


def _ticks(axis: Axes, values: Sequence[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(values, [str(value) for value in values])
    axis.xaxis.set_minor_locator(NullLocator())
