"""The cold-start experiment as pictures: who finds what, differences, what lists show, expectations."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.plot_parts import name_rows, plain
from resonance.clients.plot import REST_COLOUR, TITLE_COLOURS
from resonance.training.coldstart.result import COLD_HEAD, COLD_TAIL, WARM_HEAD, WARM_TAIL, ColdstartResult

REFERENCE, OTHER, AGAINST = "#1f4e79", "#777777", "#b3261e"
_PANELS = (COLD_HEAD, COLD_TAIL, WARM_HEAD, WARM_TAIL)


def plot_found(result: ColdstartResult, measure: str, label: str) -> Figure:
    """A panel a group of titles: each contestant's figure with its interval, and what chance gives."""
    there = [name for name in _PANELS if (name, measure) in result.contestants[0].found]
    figure = Figure(figsize=(9.5, 1.5 + 0.28 * len(result.contestants)), layout="constrained")
    panels = figure.subplots(1, max(len(there), 1), sharey=True, squeeze=False)[0]
    rows = range(len(result.contestants), 0, -1)
    for axes, name in zip(panels, there, strict=False):
        for row, one in zip(rows, result.contestants, strict=True):
            estimate = one.found[name, measure]
            colour = REFERENCE if one.name == result.reference else OTHER
            axes.plot(estimate.interval, [row, row], color=colour, linewidth=2, alpha=0.6)
            axes.plot([estimate.value], [row], "o", color=colour, markersize=5)
        axes.axvline(result.split.chance[name], color=AGAINST, linewidth=1, linestyle="--")
        axes.set_title(f"{name} titles", fontsize=10)
        axes.set_xlim(left=-0.03 * axes.get_xlim()[1])  # the whole of a dot at 0
        axes.locator_params(axis="x", nbins=4)
        plain(axes, "x")
    name_rows(panels[0], [one.name for one in result.contestants])
    figure.suptitle(f"{label}; dashed: lists in random order", fontsize=11)
    return figure


def plot_differences(result: ColdstartResult, slice_: str, measure: str, label: str) -> Figure:
    """The reference less each other; right of 0 the reference is better."""
    shown = [d for d in result.differences if (d.slice, d.measure) == (slice_, measure)]
    figure = Figure(figsize=(7.5, 1.4 + 0.3 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    draw_leads(axes, {d.other: d.estimate for d in shown})
    axes.set_title(f"{result.reference} over others: {label}", loc="left", fontsize=11)
    return figure


def draw_leads(axes: Axes, leads: Mapping[str, Estimate]) -> None:
    """What one is ahead of the others by, a row each; blue where that is sure, red where the other is."""
    for row, lead in zip(range(len(leads), 0, -1), leads.values(), strict=True):
        low, high = lead.interval
        colour = REFERENCE if low > 0 else AGAINST if high < 0 else OTHER
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot([lead.value], [row], "o", color=colour, markersize=5)
    axes.axvline(0, color="#333333", linewidth=1)
    name_rows(axes, [f"over {name}" for name in leads])
    plain(axes, "x")


def plot_exposure(result: ColdstartResult) -> Figure:
    """What places of the lists among all titles are given to, beside what was viewed."""
    named = [(one.name, one.exposure_new.value, one.exposure_tail.value) for one in result.contestants]
    named.append(("viewed in the test", result.split.viewed_new, result.split.viewed_tail))
    figure = Figure(figsize=(8.5, 1.6 + 0.3 * len(named)), layout="constrained")
    axes = figure.add_subplot()
    rows = list(range(len(named), 0, -1))
    starts = [0.0] * len(named)
    parts = (
        ("new titles", [new for _, new, _ in named], TITLE_COLOURS[0]),
        ("long tail of known ones", [tail for *_, tail in named], TITLE_COLOURS[1]),
        ("head of known ones", [1 - new - tail for _, new, tail in named], REST_COLOUR),
    )
    for label, widths, colour in parts:
        axes.barh(rows, [100 * width for width in widths], left=starts, height=0.7, color=colour, label=label)
        starts = [start + 100 * width for start, width in zip(starts, widths, strict=True)]
    axes.axhline(1.5, color="#333333", linewidth=0.8)
    name_rows(axes, [name for name, *_ in named])
    axes.set_xlim(0, 100)
    axes.set_xlabel("places of the lists in %")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    plain(axes, "x")
    return figure


def plot_reliability(result: ColdstartResult) -> Figure:
    """Viewings expected and those that came, of pairs of viewer and new title."""
    figure = Figure(figsize=(6.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    told = [(one.name, one.reliability) for one in result.contestants if one.reliability is not None]
    others, largest = (*TITLE_COLOURS[1:], OTHER), 0.0
    for at, (name, curve) in enumerate(told):
        # the first colour is too near to the reference's
        colour = REFERENCE if name == result.reference else others[at % len(others)]
        axes.plot(
            curve.expected,
            curve.observed,
            "o-",
            color=colour,
            markersize=4,
            linewidth=2.2 if name == result.reference else 1.2,
            label=name.replace("$", r"\$"),
        )
        largest = max(largest, float(curve.expected.max()), float(curve.observed.max()))
    axes.plot([0, largest], [0, largest], color="#333333", linewidth=1, linestyle="--", label="as expected")
    axes.set_xlabel("viewings expected a pair")
    axes.set_ylabel("viewings that came")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    plain(axes, "both")
    return figure
