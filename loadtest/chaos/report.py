"""What a run found: a table, JSON, and a picture of how long recovery took."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from resonance.loadtest.chaos.rounds import Kind, Round, Undisturbed
from resonance.loadtest.chaos.witness import Seen

COLOURS = {Kind.STUB: "#0072b2", Kind.TRITON: "#d55e00", Kind.GATEWAY: "#009e73", Kind.CLIENT: "#cc79a7"}
#: A title whose longest pause is so many times the usual one hides how long recovery took.
SLOW = 4.0
LABELS = {
    Kind.STUB: "a model's process",
    Kind.TRITON: "Triton",
    Kind.GATEWAY: "the gateway",
    Kind.CLIENT: "the client",
}


def by_kind(rounds: Sequence[Round]) -> dict[Kind, list[Round]]:
    """Rounds of each kind that was played."""
    return {kind: played for kind in Kind if (played := [r for r in rounds if r.kind is kind])}


def table(rounds: Sequence[Round]) -> Table:
    """A row a kind; of times the lowest, the median and the highest."""
    shown = Table(title="killed in the middle of a title", title_justify="left")
    for heading in ("kind", "kills", "sound", "difference", "recovery s", "all back s"):
        shown.add_column(heading, justify="left" if heading == "kind" else "right", no_wrap=True)
    for kind, played in by_kind(rounds).items():
        shown.add_row(
            kind,
            str(len(played)),
            str(sum(not r.violations for r in played)),
            f"{max(r.worst for r in played):.1e}",
            _spread([r.recovery_s for r in played]),
            _spread([r.settled_s for r in played]),
        )
    return shown


def _spread(values: Sequence[float]) -> str:
    return " ".join(f"{of(values):4.1f}" for of in (min, statistics.median, max))


def codes(seen: Mapping[Seen, int]) -> dict[str, dict[str, int]]:
    """How calls of the witness ended, by what was killed meanwhile."""
    counted: dict[str, Counter[str]] = {}
    for ending, times in seen.items():
        hint = " with RetryInfo" if ending.retry_info else ""
        lost = " by a lost connection" if ending.connection_lost else ""
        counted.setdefault(ending.during or "nothing", Counter())[f"{ending.code}{hint}{lost}"] += times
    return {during: dict(sorted(of.items())) for during, of in counted.items()}


def figures(
    rounds: Sequence[Round],
    undisturbed: Sequence[Undisturbed],
    seen: Mapping[Seen, int],
    violations: Sequence[str],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """All of it as one JSON object."""
    return {
        "about": dict(about),
        "violations": list(violations),
        "titles": [
            {"name": u.title.name, "segments": len(u.kept.segments), "span_s": u.span_s, "pause_s": u.pause_s}
            for u in undisturbed
        ],
        "codes": codes(seen),
        "rounds": [asdict(r) for r in rounds],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def plot(path: Path, rounds: Sequence[Round], undisturbed: Sequence[Undisturbed]) -> None:
    """A dot a round over the moment of its kill, one panel a kind; hollow where the title itself is slow."""
    played = by_kind(rounds)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(played), sharey=True, squeeze=False)[0]
    usual_s = statistics.median(u.pause_s for u in undisturbed)
    slow = {u.title.name for u in undisturbed if u.pause_s > SLOW * usual_s}
    for panel, (kind, of) in zip(panels, played.items(), strict=True):
        values = np.array([r.recovery_s for r in of])
        moments = [100 * r.moment for r in of]
        sound = np.array([not r.violations for r in of])
        fills = ["white" if r.title in slow else COLOURS[kind] for r in of]
        panel.scatter(moments, values, s=20, alpha=0.8, facecolors=fills, edgecolors=COLOURS[kind])
        if not sound.all():
            panel.scatter(np.array(moments)[~sound], values[~sound], s=70, marker="x", color="black")
        median = float(np.median(values))
        panel.axhline(median, color=COLOURS[kind], linewidth=1.2)
        panel.axhline(usual_s, color="#888888", linewidth=0.9, linestyle=":")
        panel.set_title(f"{LABELS[kind]}\n{len(of)} kills, median {median:.1f} s", fontsize=10)
        panel.set_xlim(-4, 104)
        panel.set_xticks([0, 50, 100])
        panel.set_yscale("log")
        panel.grid(axis="y", which="major", color="#e4e4e4", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
    panels[0].set_yticks(ticks, [f"{t:g}" for t in ticks])
    panels[0].minorticks_off()
    every = [r.recovery_s for r in rounds] + [usual_s]
    panels[0].set_ylim(max(min(every), 0.02) / 1.5, max(every) * 1.5)
    panels[0].set_ylabel("from the kill until segments flow again, s")
    figure.supxlabel("moment of the kill, % of the time between a title's first and last segment", fontsize=9)
    if slow:
        figure.suptitle(f"hollow: {', '.join(sorted(slow))}, slow by itself", fontsize=8, color="#666666")
    panels[-1].annotate(
        "longest pause\nof an undisturbed title", (104, usual_s), xytext=(-2, 3), textcoords="offset points",
        fontsize=7, color="#666666", ha="right",
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
