"""The arcs of titles as a picture: measured ones above, the axes of the space below, over one clock."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator

from resonance.clients.arcs import runs_of
from resonance.clients.clock import clock
from resonance.clients.errors import UsageError
from resonance.clients.new_files import check_new_file, whole_file
from resonance.clients.results import MediaEmbedding

#: Of one title each arc has its own colour.
ARC_COLOURS = {"pacing": "#c2410c", "energy": "#7c3aed", "brightness": "#b08900"}
OTHER_ARC_COLOUR = "#1f6f8b"
#: Of one title an axis is filled from its middle: to the high end in one colour, to the low in another.
HIGH_COLOUR, LOW_COLOUR, AXIS_COLOUR = "#c2410c", "#1f6f8b", "#333333"
#: Height of a row in inches, where measured arcs stand alone, above axes, and of an axis.
ALONE_IN, ABOVE_IN, AXIS_IN = 1.5, 1.15, 0.85
#: Several titles are told apart by colour: Okabe and Ito's, which colour-blind readers can tell too.
TITLE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
REST_COLOUR = "#c8c8c8"
#: With more points than this, marks for each would run into one another.
MOST_MARKED = 80
#: All that matplotlib writes, but for the one that it asks LaTeX for.
PICTURE_FORMATS = tuple(sorted(set(FigureCanvasAgg.get_supported_filetypes()) - {"pgf"}))
LONGEST_NAME = 44
LONGEST_END = 18
#: The steps in which clocks are read, up to a quarter of a day.
TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)
MOST_TICKS = 9


def plot_arcs(results: Sequence[MediaEmbedding], path: Path) -> None:
    """Draw one row an arc, all titles over the same time, into `path` (its ending names the format).

    Axes of the space stand below the measured arcs, in lower rows, their ends labelled.
    Of many titles the first few have colours and names; the others are drawn in grey behind them.

    Raises:
        UsageError: no results, or an ending that names no format matplotlib writes.
        OSError: the file cannot be written.
    """
    if not results:
        raise UsageError("no titles to plot; expected at least one")
    check_plot_path(path)
    ends = {name: (v.low, v.high) for result in results for name, v in result.axes.items()}
    measured = [n for n in dict.fromkeys(n for result in results for n in result.arcs) if n not in ends]
    names = [*measured, *ends]
    heights_in = [ABOVE_IN if ends else ALONE_IN] * len(measured) + [AXIS_IN] * len(ends)
    figure = Figure(figsize=(9, 1.5 + sum(heights_in)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(names), 1, sharex=True, squeeze=False, height_ratios=heights_in)
    axes = rows[:, 0]
    for axis, name in zip(axes, names, strict=True):
        _dress(axis, name, ends.get(name))
        # the first title is drawn last, on top of the others
        drawn = [_draw(axis, results, order, name) for order in reversed(range(len(results)))]
        if not any(drawn):
            axis.text(0.5, 0.5, "not measurable", transform=axis.transAxes, ha="center", color="#888888")
    if ends:
        for first, heading in (
            (0, "measured"),
            (len(measured), "axes, about the middle of the reference set"),
        ):
            axes[first].set_title(heading, loc="left", fontsize=8, color="#777777", pad=3)
    figure.align_ylabels()
    _time_axis(axes[-1], results)
    _entitle(figure, results)
    write_picture(figure, path)


def write_picture(figure: Figure, target: Path | BinaryIO) -> None:
    """Write into a file, whose ending names the format, whole or not at all; or as PNG into what is open.

    Raises:
        OSError: the file cannot be written.
    """
    if isinstance(target, Path):
        # into a file, Pillow leaves half a JPEG where the disk is full, and says nothing
        drawn = io.BytesIO()
        _draw_into(figure, drawn, target.suffix.lower().lstrip("."))
        with whole_file(target) as half:
            half.write_bytes(drawn.getvalue())
    else:
        _draw_into(figure, target, "png")


def _draw_into(figure: Figure, file: BinaryIO, form: str) -> None:
    with warnings.catch_warnings():
        # a name in a script that the font lacks is drawn as boxes; nothing to tell a user about
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(file, format=form, dpi=130)


def check_plot_path(path: Path) -> None:
    """Refuse a picture that cannot be written in the end, before the long work that it would show.

    Raises:
        UsageError: the ending names no format, or the folder is not there.
    """
    if path.suffix.lower().lstrip(".") not in PICTURE_FORMATS:
        expected = f"expected one of {', '.join(PICTURE_FORMATS)}"
        raise UsageError(f"{path}: no picture format of that ending; {expected}")
    check_new_file(path)


def _draw(axis: Axes, results: Sequence[MediaEmbedding], order: int, name: str) -> bool:
    """One title's arc; False where it has no point."""
    points = results[order].arcs.get(name, [])
    alone = len(results) == 1
    two_ended = name in results[order].axes
    own = AXIS_COLOUR if two_ended else ARC_COLOURS.get(name, OTHER_ARC_COLOUR)
    colour = own if alone else _title_colour(order)
    marker = "o" if len(points) <= MOST_MARKED else None
    for run in runs_of(points):
        times_s, values = ([point[at] for point in run] for at in (0, 1))
        # a lone point has no line to be seen by
        mark = marker or ("o" if len(times_s) == 1 else None)
        axis.plot(times_s, values, color=colour, linewidth=1.8, marker=mark, markersize=3.5, clip_on=False)
        if alone and two_ended:
            _fill_from_the_middle(axis, times_s, values)
        elif alone:
            axis.fill_between(times_s, 0, values, color=colour, alpha=0.13, linewidth=0)
    return bool(points)


def _fill_from_the_middle(axis: Axes, times_s: list[float], values: list[float]) -> None:
    for colour, beyond in (
        (HIGH_COLOUR, [v >= 0.5 for v in values]),
        (LOW_COLOUR, [v <= 0.5 for v in values]),
    ):
        axis.fill_between(
            times_s, 0.5, values, where=beyond, interpolate=True, color=colour, alpha=0.3, linewidth=0
        )


def _title_colour(order: int) -> str:
    return TITLE_COLOURS[order] if order < len(TITLE_COLOURS) else REST_COLOUR


def _dress(axis: Axes, name: str, ends: tuple[str, str] | None) -> None:
    axis.set_ylim(0, 1)
    axis.set_ylabel(name)
    axis.set_yticks((0, 0.5, 1), ("0", "½", "1"))
    if ends is not None:
        axis.set_yticks((0, 1), [_shortened(end, LONGEST_END) for end in ends], fontsize=8)
        for label in axis.get_yticklabels():
            label.set_parse_math(False)  # a prompt may hold dollar signs
        axis.axhline(0.5, color="#999999", linewidth=0.8, zorder=1)
    axis.grid(color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _time_axis(axis: Axes, results: Sequence[MediaEmbedding]) -> None:
    ends_s = [r.duration_s or 0.0 for r in results]
    ends_s += [points[-1][0] for r in results for points in r.arcs.values() if points]
    end_s = max(ends_s) or 1.0
    axis.set_xlim(0, end_s)
    tick_clock(axis, end_s, MOST_TICKS)
    axis.set_xlabel("time")


def tick_clock(axis: Axes, span_s: float, most: int) -> None:
    """Label a horizontal axis in seconds with times, at round steps that `most` fill `span_s` at most."""
    step_s = next((s for s in TICK_STEPS_S if span_s / s <= most), span_s / most)
    axis.xaxis.set_major_locator(MultipleLocator(step_s))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))


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
    return _shortened(Path(media).name or media, LONGEST_NAME)


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
