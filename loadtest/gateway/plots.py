"""Pictures of a run: who was let in and how long it took, and memory over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from resonance.loadtest.gateway.overload import OverloadRun
from resonance.loadtest.gateway.usage import MIB, Sample

GATEWAY_COLOUR, READERS_COLOUR, TRITON_COLOUR = "#0072b2", "#e69f00", "#009e73"
ACCEPTED_COLOUR, REFUSED_COLOUR = "#0072b2", "#d55e00"


def plot_overload(run: OverloadRun, path: Path) -> None:
    """Time to the answer and to the refusal over the time of arrival, and how many of each a second."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    times, rates, memory = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.4, 1.4])
    accepted = [o for o in run.outcomes if o.ok]
    refused = [o for o in run.outcomes if not o.ok]
    for outcomes, colour, label in (
        (refused, REFUSED_COLOUR, "refused"),
        (accepted, ACCEPTED_COLOUR, "answered"),
    ):
        due = [o.due_s - run.started_s for o in outcomes]
        times.scatter(due, [o.took_s * 1e3 for o in outcomes], s=6, color=colour, label=label, linewidths=0)
        whole = int(max(due, default=0)) + 1
        rates.hist(due, bins=range(whole + 1), histtype="step", color=colour)
    figures = run.figures
    times.axhline(figures.unloaded.p99_ms, color="#555555", lw=0.8, label="p99 of one caller alone")
    times.axhline(3 * figures.unloaded.p99_ms, color="#555555", lw=0.8, ls="--", label="3 times that")
    times.set_yscale("log")
    times.set_ylabel("ms, from when it was due")
    times.legend(loc="upper right", fontsize=8, ncols=4, markerscale=2)
    offered, capacity = figures.offered_per_s, figures.capacity_per_s
    times.set_title(f"{figures.kind}: {offered:.0f} a second where {capacity:.3g} can be answered")
    rates.set_yscale("log")
    rates.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    rates.yaxis.set_minor_formatter(NullFormatter())
    rates.set_ylabel("a second")
    _memory(memory, run.samples, run.started_s)
    memory.set_xlabel("seconds")
    figure.savefig(path, dpi=110)


def plot_memory(samples: Sequence[Sample], started_s: float, path: Path, title: str) -> None:
    """Memory of gateway, readers and Triton over time."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    _memory(axis, samples, started_s)
    axis.set_xlabel("seconds")
    axis.set_title(title)
    figure.savefig(path, dpi=110)


def _memory(axis: Axes, samples: Sequence[Sample], started_s: float) -> None:
    at = [s.at_s - started_s for s in samples]
    lines = (
        ("Triton", TRITON_COLOUR, [s.triton.private / MIB for s in samples]),
        ("gateway", GATEWAY_COLOUR, [s.gateway.resident / MIB for s in samples]),
        (
            "readers, what they share counted for each",
            READERS_COLOUR,
            [s.readers.private / MIB for s in samples],
        ),
    )
    for label, colour, values in lines:
        axis.plot(at, values, color=colour, lw=1.2, label=label)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("MiB")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axis.legend(loc="center right", fontsize=8)
