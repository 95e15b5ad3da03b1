"""Pictures of a run: throughput and latency over users, and latency and memory over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from resonance.loadtest.gateway.usage import MIB
from resonance.loadtest.load.records import Record, Result
from resonance.loadtest.load.servers import Look
from resonance.loadtest.load.summary import KNEE_SHARE, Baseline, StepFigures

_MEDIA, _REFUSED, _KNEE = "#0072b2", "#d55e00", "#555555"
_GROUPS = {"upload": "#0072b2", "query": "#009e73", "live": "#e69f00"}
_SLICES = 60
#: Of matplotlib's cycle; more names than these come in other line styles.
_COLOURS, _STYLES = 10, ("-", "--", ":", "-.")


def plot_ramp(steps: Sequence[StepFigures], knee: int | None, unloaded_media_s: float, path: Path) -> None:
    """Media a second, what was refused, and latency over that without load, against the number of users."""
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    throughput, latency = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    users = [each.step.users for each in steps]
    throughput.plot(users, [s.media_s_per_s for s in steps], color=_MEDIA, marker="o", label="media answered")
    throughput.axhline(unloaded_media_s, color=_MEDIA, lw=0.8, ls=":", label="one caller alone, uploading")
    throughput.set_ylabel("seconds of media a second")
    throughput.set_ylim(bottom=0)
    shares = throughput.twinx()
    refused = [100 * s.all.refused_share for s in steps]
    shares.plot(users, refused, color=_REFUSED, marker="s", ms=4, lw=1, label="refused (right)")
    shares.set_ylim(0, max(10, *refused) * 1.1)
    shares.set_ylabel("% of calls")
    for group, colour in _GROUPS.items():
        seen = [(s.step.users, s.groups[group].latency.times) for s in steps if group in s.groups]
        seen = [(count, times) for count, times in seen if times]
        for q, style in ((50, "-"), (99, "--")):
            points = [times[q] for _, times in seen]
            latency.plot(
                [count for count, _ in seen],
                points,
                style,
                color=colour,
                marker="o",
                ms=3,
                label=f"{group} p{q}",
            )
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    latency.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    latency.yaxis.set_minor_formatter(NullFormatter())
    latency.set_ylabel("times without load")
    latency.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    latency.set_xticks(users)
    latency.set_xlabel("users")
    if knee is not None:
        label = f"knee: the fewest users with {KNEE_SHARE:.0%} of the best"
        for axis in (throughput, latency):
            axis.axvline(knee, color=_KNEE, ls="--", lw=1, label=label if axis is throughput else None)
    handles, labels = throughput.get_legend_handles_labels()
    more, more_labels = shares.get_legend_handles_labels()
    figure.legend([*handles, *more], [*labels, *more_labels], fontsize=8, loc="outside upper center", ncols=2)
    latency.legend(fontsize=8, ncols=3, loc="upper left")
    title = "Throughput by users" + ("" if knee is None else f": the knee is at {knee}")
    throughput.set_title(title)
    figure.savefig(path, dpi=110)


def plot_time(
    records: Sequence[Record],
    media: Sequence[tuple[float, float]],
    baseline: Baseline,
    memory: Sequence[tuple[float, Look]],
    names: Mapping[int, str],
    path: Path,
) -> None:
    """How it went over time.

    Args:
        records, media: of the load. memory: looks at the servers by seconds from its begin; may be empty.
        names: of processes, by id.
    """
    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    times, rates, resident = figure.subplots(3, 1, sharex=True)
    last_s = max((each.ended_s for each in records), default=1.0)
    edges = np.linspace(0, last_s, _SLICES + 1)
    for group, colour in _GROUPS.items():
        _latency(times, [each for each in records if each.group == group], baseline, edges, group, colour)
    times.set_yscale("log")
    times.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    times.yaxis.set_minor_formatter(NullFormatter())
    times.set_ylabel("times without load")
    times.legend(fontsize=8, ncols=3)
    length_s = last_s / _SLICES
    answered, _ = np.histogram([at for at, _ in media], edges, weights=[s for _, s in media])
    rates.stairs(answered / length_s, edges, color=_MEDIA, label="media, s a second")
    refused, _ = np.histogram([r.due_s for r in records if r.result is Result.REFUSED], edges)
    rates.stairs(refused / length_s, edges, color=_REFUSED, label="refused, calls a second")
    rates.set_ylim(bottom=0)
    rates.legend(fontsize=8)
    plot_memory(resident, memory, names)
    resident.set_xlabel("seconds")
    handles, labels = resident.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, fontsize=7, ncols=5, loc="outside lower center")
    figure.savefig(path, dpi=110)


def _latency(
    axis: Axes,
    records: Sequence[Record],
    baseline: Baseline,
    edges: np.ndarray,
    group: str,
    colour: str,
) -> None:
    """p50 and p99 of each slice of time in which something was answered."""
    found: dict[int, list[tuple[float, float]]] = {50: [], 99: []}
    for start_s, end_s in pairwise(edges):
        relative = baseline.relative(r for r in records if start_s <= r.due_s < end_s)
        for q, points in found.items():
            if relative:
                points.append(((start_s + end_s) / 2, float(np.percentile(relative, q))))
    for (q, points), style in zip(found.items(), ("-", ":"), strict=True):
        if points:
            axis.plot(*zip(*points, strict=True), style, color=colour, lw=1.2, label=f"{group} p{q}")


def plot_memory(axis: Axes, memory: Sequence[tuple[float, Look]], names: Mapping[int, str]) -> None:
    """RSS of the processes that lived throughout; those of one name share a look and a label.

    Args:
        memory: looks by seconds. names: by process id.
    """
    series: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for at_s, look in memory:
        for pid, resident in look.resident.items():
            series[pid].append((at_s, resident / MIB))
    lived: defaultdict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for pid, points in series.items():
        if len(points) >= 0.9 * len(memory):
            lived[names.get(pid, str(pid))].append(points)
    for order, (name, alike) in enumerate(lived.items()):
        styles, colour = divmod(order, _COLOURS)
        for points in alike:
            axis.plot(*zip(*points, strict=True), _STYLES[styles % len(_STYLES)], color=f"C{colour}", lw=1.1)
        axis.lines[-1].set_label(name if len(alike) == 1 else f"{name} ({len(alike)})")
    axis.set_ylim(bottom=0)
    axis.set_ylabel("RSS, MiB")
    if not lived:
        axis.text(0.5, 0.5, "the servers are not on this machine", ha="center", transform=axis.transAxes)
