"""The arcs of titles as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator

from resonance.clients.errors import UsageError
from resonance.clients.results import MediaEmbedding

#: Of one title each arc has its own colour.
ARC_COLOURS = {"pacing": "#c2410c", "energy": "#7c3aed", "brightness": "#b08900"}
OTHER_ARC_COLOUR = "#1f6f8b"
#: Several titles are told apart by colour: Okabe and Ito's, which colour-blind readers can tell too.
TITLE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
REST_COLOUR = "#c8c8c8"
#: Points further apart than this many seconds are not joined: there was nothing to measure between.
GAP_S = 20.0
#: With more points than this, marks for each would run into one another.
MOST_MARKED = 80
LONGEST_NAME = 44
#: The steps in which clocks are read, up to a quarter of a day.
TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)
MOST_TICKS = 9


def plot_arcs(results: Sequence[MediaEmbedding], path: Path) -> None:
    """Draw one row an arc, all titles over the same time, into `path` (its ending names the format).

    Of many titles the first few have colours and names; the others are drawn in grey behind them.

    Raises:
        UsageError: no results, or an ending that names no format matplotlib writes.
        OSError: the file cannot be written.
    """
    if not results:
        raise UsageError("no titles to plot; expected at least one")
    check_plot_path(path)
    names = list(dict.fromkeys(name for result in results for name in result.arcs))
    figure = Figure(figsize=(9, 1.5 + 1.5 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        _dress(axis, name)
        # the first title is drawn last, on top of the others
        drawn = [_draw(axis, results, order, name) for order in reversed(range(len(results)))]
        if not any(drawn):
            axis.text(0.5, 0.5, "not measurable", transform=axis.transAxes, ha="center", color="#888888")
    _time_axis(axes[-1], results)
    _entitle(figure, results)
    with warnings.catch_warnings():
        # a name in a script that the font lacks is drawn as boxes; nothing to tell a user about
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, dpi=130)


def check_plot_path(path: Path) -> None:
    """Refuse a picture that cannot be written in the end, before the long work that it would show.

    Raises:
        UsageError: the ending names no format, or the folder is not there.
    """
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.lower().lstrip(".") not in known:
        raise UsageError(f"{path}: no picture format of that ending; expected one of {', '.join(known)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: its folder is not there; expected one that is")


def _draw(axis: Axes, results: Sequence[MediaEmbedding], order: int, name: str) -> bool:
    """One title's arc; False where it has no point."""
    points = results[order].arcs.get(name, [])
    alone = len(results) == 1
    colour = ARC_COLOURS.get(name, OTHER_ARC_COLOUR) if alone else _title_colour(order)
    marker = "o" if len(points) <= MOST_MARKED else None
    for times_s, values in _pieces(points):
        # a lone point has no line to be seen by
        mark = marker or ("o" if len(times_s) == 1 else None)
        axis.plot(times_s, values, color=colour, linewidth=1.8, marker=mark, markersize=3.5, clip_on=False)
        if alone:
            axis.fill_between(times_s, 0, values, color=colour, alpha=0.13, linewidth=0)
    return bool(points)


def _title_colour(order: int) -> str:
    return TITLE_COLOURS[order] if order < len(TITLE_COLOURS) else REST_COLOUR


def _dress(axis: Axes, name: str) -> None:
    axis.set_ylim(0, 1)
    axis.set_yticks((0, 0.5, 1), ("0", "½", "1"))
    axis.set_ylabel(name)
    axis.grid(color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _time_axis(axis: Axes, results: Sequence[MediaEmbedding]) -> None:
    ends_s = [r.duration_s or 0.0 for r in results]
    ends_s += [points[-1][0] for r in results for points in r.arcs.values() if points]
    end_s = max(ends_s) or 1.0
    axis.set_xlim(0, end_s)
    step_s = next((s for s in TICK_STEPS_S if end_s / s <= MOST_TICKS), end_s / MOST_TICKS)
    axis.xaxis.set_major_locator(MultipleLocator(step_s))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
    axis.set_xlabel("time")


def _clock(seconds: float) -> str:
    """75 as 1:15, 3675 as 1:01:15."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _entitle(figure: Figure, results: Sequence[MediaEmbedding]) -> None:
    """One title's name above; of several, names and colours below."""
    if len(results) == 1:
        heading = figure.suptitle(_short(results[0].media), fontsize=11)
        heading.set_parse_math(False)  # a name may hold dollar signs
        return
    named = results[: len(TITLE_COLOURS)]
    labels = [_short(result.media) for result in named]
    handles = [Line2D([], [], color=_title_colour(order), linewidth=2.5) for order in range(len(named))]
    if len(results) > len(named):
        labels.append(f"and {len(results) - len(named)} more")
        handles.append(Line2D([], [], color=REST_COLOUR, linewidth=2.5))
    columns = 2 if max(map(len, labels)) > 24 else 4
    legend = figure.legend(
        handles, labels, loc="outside upper left", fontsize=8, ncols=columns, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(media: str) -> str:
    """The file's name, shortened in its middle: ends tell versions and formats apart."""
    name = Path(media).name or media
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _pieces(points: Sequence[tuple[float, float]]) -> list[tuple[list[float], list[float]]]:
    """Runs of points without a gap, as times and values."""
    runs: list[tuple[list[float], list[float]]] = []
    for time_s, value in points:
        if not runs or time_s - runs[-1][0][-1] > GAP_S:
            runs.append(([], []))
        runs[-1][0].append(time_s)
        runs[-1][1].append(value)
    return runs
