"""What comes of recommendations as pictures: outcomes by score, and how far down a list is seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from resonance.clients.audit.finishing_curves import Curve
from resonance.clients.audit.finishing_weights import SeenWeights
from resonance.clients.audit.plot_parts import plain

_INK, _PLAIN = "#1f4e79", "#c2410c"


def plot_curves(curves: Sequence[tuple[str, Curve]], scored_by: str) -> Figure:
    """Outcomes by group of the score, a panel each: weighted with its interval, and all rows alike."""
    figure = Figure(figsize=(9, 3.6 if len(curves) > 1 else 3.8), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (title, found) in zip(panels, curves, strict=True):
        known = np.isfinite(found.value)
        score, value = found.score[known], found.value[known]
        around = np.maximum([value - found.low[known], found.high[known] - value], 0)
        axes.errorbar(
            score, value, yerr=around, fmt="o-", color=_INK, capsize=3, markersize=4, label="weighted, 95%"
        )
        axes.plot(
            found.score,
            found.unweighted,
            "s--",
            color=_PLAIN,
            markersize=4,
            alpha=0.8,
            label="all rows alike",
        )
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("mean score of the group", fontsize=9)
        plain(axes, "both")
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"By {scored_by}", fontsize=11)
    return figure


def plot_seen(weights: SeenWeights, clip: float) -> Figure | None:
    """The chance that each position is seen; None where chances do not go by position."""
    if weights.by_position is None:
        return None
    positions, chances = weights.by_position
    figure = Figure(figsize=(7.5, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(positions, chances, "o-", color=_INK, markersize=4)
    axes.axhline(clip, color=_PLAIN, linewidth=1, linestyle="--", label=f"clipped at {clip:g}")
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("position")
    axes.set_title("Chance of being seen, relative to the first position", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "both")
    return figure
