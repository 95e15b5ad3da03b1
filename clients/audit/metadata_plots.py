"""Figures with intervals, one a line."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resonance.clients.audit.plot_parts import name_rows, plain

_INK, _LINE = "#1f4e79", "#b3261e"
_LONGEST_NAME = 48


def plot_intervals(
    title: str,
    figures: Sequence[tuple[str, float, tuple[float, float]]],
    *,
    line: float | None = None,
    line_label: str = "",
) -> Figure:
    """Name, value and interval of each, the first on top; `line`: what they are held against."""
    figure = Figure(figsize=(7.5, 1.1 + 0.26 * len(figures)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(figures), 0, -1)
    for place, (_, value, (low, high)) in zip(places, figures, strict=True):
        axes.plot([low, high], [place, place], color=_INK, linewidth=2, alpha=0.5)
        axes.plot([value], [place], "o", color=_INK, markersize=5)
    if line is not None:
        axes.axvline(line, color=_LINE, linewidth=1, linestyle="--", label=line_label)
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    names = [name for name, _, _ in figures]
    name_rows(axes, [n if len(n) <= _LONGEST_NAME else f"{n[: _LONGEST_NAME - 1]}…" for n in names])
    axes.set_title(title, loc="left", fontsize=11)
    plain(axes, "x")
    return figure
