"""Figures as they come: a table on the terminal, JSON after every part, a plot at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resonance.loadtest.gpu_bench.results import PartResult, Row, as_text, strict

#: More do not fit a terminal.
MOST_COLUMNS = 12


class Report:
    """Collects parts and keeps `path` up to date, so that a run that is cut off keeps what it has."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self.path = path
        self.figures: dict[str, Any] = {"environment": dict(environment), "parts": {}, "errors": []}

    def add(self, name: str, result: PartResult) -> None:
        """Print a part and write everything so far."""
        self.figures["parts"][name] = {
            "seconds": round(result.seconds, 1),
            "clocks": result.clocks,
            "rows": result.rows,
            "skipped": result.skipped,
            "errors": result.errors,
        }
        show(f"{name} ({result.seconds:.0f} s)", result.rows)
        for clocks in result.clocks:
            print("  clocks: " + ", ".join(f"{name} {as_text(value)}" for name, value in clocks.items()))
        for text in result.skipped:
            print(f"  skipped: {text}")
        for text in result.errors:
            print(f"  ERROR: {text}")
        sys.stdout.flush()
        self.write()

    def write(self) -> None:
        """The JSON, whole at every moment."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")
        text = json.dumps(strict(self.figures), indent=2, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(self.path)

    def errors(self) -> list[str]:
        """Of all parts, with the part's name, and of the run."""
        told = [f"{name}: {e}" for name, part in self.figures["parts"].items() for e in part["errors"]]
        return told + list(self.figures["errors"])


def one_line(error: BaseException) -> str:
    """Kind and text of an exception: what failed in the compiler stands in the second line of it."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def show(title: str, rows: Sequence[Row]) -> None:
    """A table of `rows`, with rich where it is installed."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[as_text(row.get(column, "")) for column in columns] for row in rows]
    if len(columns) > MOST_COLUMNS:  # a line a field reads better than words broken in cells
        cells = [[column, *(row[i] for row in cells)] for i, column in enumerate(columns)]
        columns = ["", *(f"{i}" for i in range(1, len(rows) + 1))]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(f"\n{title}")
        for line in plain(columns, cells):
            print(line)
        return
    table = Table(*columns, title=title)
    for row in cells:
        table.add_row(*row)
    # a log has no width of its own, and a wrapped table cannot be read
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False).print(table)


def plain(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """Lines of aligned columns."""
    table = [list(columns), *map(list, cells)]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in table]


def plot(figures: Mapping[str, Any], path: Path) -> str:
    """Share of the matrix rate by encoder and way of running. Says why not where there is no plot."""
    rows = [
        row
        for name in ("encoders", "compiled", "aoti", "tensorrt")
        for row in figures["parts"].get(name, {}).get("rows", [])
        if row.get("of_matrix_rate") is not None
    ]
    if not rows:
        return "no plot: no encoder was measured against a matrix rate"
    try:
        _draw(rows, figures["environment"], path)
    except Exception as error:  # not installed, or made for another numpy: the figures are there
        return f"no plot: {one_line(error)}"
    return f"plot: {path}"


def _draw(rows: Sequence[Row], environment: Mapping[str, str], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    best: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row["encoder"], row["variant"])
        best[key] = max(best.get(key, 0.0), row["of_matrix_rate"])
    encoders = list(dict.fromkeys(e for e, _ in best))
    variants = list(dict.fromkeys(v for _, v in best))
    figure, axes = pyplot.subplots(figsize=(10, 5), layout="constrained")
    thickness = 0.8 / len(variants)
    for i, variant in enumerate(variants):
        places = [e + (i - len(variants) / 2 + 0.5) * thickness for e in range(len(encoders))]
        axes.bar(places, [100 * best.get((e, variant), 0) for e in encoders], thickness, label=variant)
    axes.set_xticks(range(len(encoders)), encoders)
    axes.set_ylabel("% of the measured bf16 matrix rate, best batch")
    axes.set_title(f"{environment.get('gpu', environment['processor'])}, torch {environment['torch']}")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
