"""Found arcs as a picture: a panel a title, each arc at its real height and time over the wanted shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resonance.clients.discovery.arc_search import ArcHit, ArcsFound
from resonance.clients.discovery.arc_shapes import POINTS
from resonance.clients.plot import TITLE_COLOURS, check_plot_path, tick_clock, write_picture
from resonance.space.arcs import Arc, FloatArray, resample_to

#: Panels drawn at most, and in a row.
MOST_PANELS, COLUMNS = 20, 5
WANTED_COLOUR = "#c8c8c8"
LONGEST_NAME = 30
#: Of a panel's time: more labels would touch.
MOST_TICKS = 5


def plot_found(found: ArcsFound, wanted: Mapping[str, FloatArray], heading: str, path: Path) -> None:
    """Draw the nearest `MOST_PANELS` hits into `path`; its ending names the format.

    The wanted shape lies behind each arc at the arc's own middle and spread: what was compared.

    Raises:
        UsageError: an ending that names no format matplotlib writes, or a folder that is not there.
        OSError: the file cannot be written.
    """
    check_plot_path(path)
    hits = found.hits[:MOST_PANELS]
    columns = min(max(len(hits), 1), COLUMNS)
    rows = max(-(-len(hits) // columns), 1)
    figure = Figure(figsize=(max(2.6 * columns, 5.2), 2.0 * rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for rank, (panel, hit) in enumerate(zip(panels, hits, strict=False), 1):
        _dress(panel, rank, hit)
        for order, (name, shape) in enumerate(wanted.items()):
            _draw(panel, hit, name, shape, TITLE_COLOURS[order % len(TITLE_COLOURS)])
    title = figure.suptitle(heading if hits else f"{heading}: nothing found", fontsize=11)
    title.set_parse_math(False)  # a name may hold dollar signs
    handles = [Line2D([], [], color=WANTED_COLOUR, linewidth=5)]
    handles += [Line2D([], [], color=TITLE_COLOURS[i % len(TITLE_COLOURS)]) for i in range(len(wanted))]
    figure.legend(
        handles, ["wanted", *wanted], loc="outside lower center", ncols=8, fontsize=8, frameon=False
    )
    write_picture(figure, path)


def _draw(panel: Axes, hit: ArcHit, name: str, shape: FloatArray, colour: str) -> None:
    known = Arc.of([t for t, _ in hit.arcs[name]], [v for _, v in hit.arcs[name]]).known()
    curve = resample_to(known, POINTS).values
    fitted = curve.mean() + curve.std() * shape / max(float(shape.std()), 1e-9)
    times_s = known.times_s
    tick_clock(panel, float(times_s[-1] - times_s[0]) or 1.0, MOST_TICKS)
    panel.plot(
        np.linspace(times_s[0], times_s[-1], len(fitted)),
        fitted,
        color=WANTED_COLOUR,
        linewidth=5,
        solid_capstyle="round",
    )
    panel.plot(times_s, known.values, color=colour, linewidth=1.5, zorder=3)


def _dress(panel: Axes, rank: int, hit: ArcHit) -> None:
    panel.set_axis_on()
    panel.set_ylim(0, 1)
    panel.set_yticks((0, 0.5, 1), ("0", "½", "1"))
    panel.tick_params(labelsize=7)
    panel.grid(color="#eeeeee", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    name = Path(hit.facts.media_id).name or hit.facts.media_id
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME // 2 - 1]}…{name[-LONGEST_NAME // 2 :]}"
    heading = panel.set_title(f"{rank}  {name}\ndistance {hit.distance:.2f}", fontsize=8, loc="left")
    heading.set_parse_math(False)
