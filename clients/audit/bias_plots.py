"""Representation as pictures: the surest deviations with intervals, places by group, shares over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resonance.clients.audit.plot_parts import plain
from resonance.clients.audit.representation import Against, Finding, usual_range
from resonance.clients.plot import REST_COLOUR, TITLE_COLOURS

OVER, UNDER = "#c2410c", "#1f6f8b"
#: Rows and columns drawn at most.
MOST_BARS, MOST_PLACES, MOST_GROUPS, MOST_LINES = 24, 24, 12, 4
LONGEST_NAME = 40


def plot_surest(findings: Sequence[Finding]) -> Figure:
    """Shares with their intervals beside what chance gives; the smallest adjusted p above."""
    shown = sorted(findings, key=lambda one: (one.adjusted_p, one.p))[:MOST_BARS][::-1]
    figure = Figure(figsize=(9, 1.4 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(shown):
        low, high = usual_range(one.cell)
        axes.barh(row, 100 * (high - low), left=100 * low, height=0.7, color=REST_COLOUR)
        axes.plot([100 * one.cell.expected] * 2, [row - 0.35, row + 0.35], color="#555555", linewidth=1)
        colour = "#777777" if not one.alert else OVER if one.deviation > 0 else UNDER
        axes.plot([100 * bound for bound in one.interval], [row, row], color=colour, linewidth=2)
        axes.plot(100 * one.cell.share, row, "o", color=colour, markersize=5)
    # groups of two groupings may have one name
    groups = [f"{_short(one.cell.dimension)}={_short(one.cell.group)}" for one in shown]
    _named(axes, "y", [f"{_short(_where(one))}: {g}" for one, g in zip(shown, groups, strict=True)])
    axes.set_xlabel("share of the group in %; grey: the central 95% by chance; coloured: an alert")
    axes.set_xlim(left=0)
    plain(axes)
    return figure


def plot_places(findings: Sequence[Finding], heading: str) -> Figure:
    """Deviations from the library in points of a hundred, a row a place; alerts are framed."""
    chosen = [one for one in findings if one.cell.against == Against.LIBRARY]
    places = _worst([one.cell.place for one in chosen], chosen, MOST_PLACES)
    groups = _worst([one.cell.group for one in chosen], chosen, MOST_GROUPS)
    table = np.full((len(places), len(groups)), np.nan)
    figure = Figure(figsize=(3.5 + 0.8 * len(groups), 1.6 + 0.3 * len(places)), layout="constrained")
    axes = figure.subplots()
    for one in chosen:
        if one.cell.place in places and one.cell.group in groups:
            row, column = places.index(one.cell.place), groups.index(one.cell.group)
            table[row, column] = 100 * one.deviation
            axes.text(
                column,
                row,
                f"{round(table[row, column]):+d}",
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold" if one.alert else "normal",
                bbox={"edgecolor": "black", "facecolor": "none", "pad": 2} if one.alert else None,
            )
    reach = max(float(np.nanmax(np.abs(table))), 1.0)
    shown = axes.imshow(table, cmap="RdBu_r", vmin=-1.6 * reach, vmax=1.6 * reach, aspect="auto")
    figure.colorbar(shown, ax=axes, label="points above or below the library")
    _named(axes, "y", [_short(place) for place in places])
    _named(axes, "x", [_short(group) for group in groups])
    axes.tick_params(axis="x", rotation=30)
    axes.set_title(heading, fontsize=11).set_parse_math(False)
    return figure


def plot_time(findings: Sequence[Finding], heading: str) -> Figure:
    """Shares by month with their intervals, a line a group; alerts are filled."""
    months = sorted({one.cell.place for one in findings})
    groups = _worst([one.cell.group for one in findings], findings, MOST_LINES)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for order, group in enumerate(groups):
        colour = TITLE_COLOURS[order % len(TITLE_COLOURS)]
        line = sorted((one for one in findings if one.cell.group == group), key=lambda one: one.cell.place)
        at = np.array([months.index(one.cell.place) for one in line]) + 0.06 * (order - len(groups) / 2)
        share = np.array([100 * one.cell.share for one in line])
        low, high = (np.array([100 * one.interval[side] for one in line]) for side in (0, 1))
        axes.errorbar(at, share, [share - low, high - share], color=colour, capsize=2, linewidth=1.2)
        alert = np.array([one.alert for one in line])
        axes.plot(at[alert], share[alert], "o", color=colour, markersize=6)
        axes.plot([], [], "-", color=colour, label=_short(group))
        axes.axhline(100 * line[0].cell.expected, color=colour, linewidth=0.6, linestyle=":")
    step = -(-len(months) // 14)
    axes.set_xticks(range(0, len(months), step), months[::step], fontsize=8)
    axes.set_ylabel("share in %")
    axes.set_ylim(bottom=0)
    axes.set_title(f"{heading}; dotted: the whole library; dots: alerts", fontsize=10).set_parse_math(False)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    plain(axes)
    return figure


def _worst(names: Sequence[str], findings: Sequence[Finding], most: int) -> list[str]:
    """The names with the surest deviations, in the order in which they came."""
    best: dict[str, float] = {}
    for name, one in zip(names, findings, strict=True):
        best[name] = min(best.get(name, 2.0), one.p)
    kept = set(sorted(best, key=lambda name: best[name])[:most])
    return [name for name in best if name in kept]


def _where(one: Finding) -> str:
    if one.cell.against == Against.LIBRARY:
        return one.cell.place
    return f"{one.cell.place} against {one.cell.against}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _named(axes: Axes, side: str, names: Sequence[str]) -> None:
    axis = axes.yaxis if side == "y" else axes.xaxis
    axis.set_ticks(range(len(names)), list(names), fontsize=8)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)  # a name may hold dollar signs
