"""Figures for people: one table on the terminal, and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.table import Table

from resonance.loadtest.bench.sections import SECTIONS, Line, Ratio, Row, Section, lines, lines_of

INTRODUCTION = """\
# What to expect

What Resonance does on each machine that was measured, as ratios taken side by side in one run: rounds in
turn, medians. Absolute times belong to a machine and are left out. ✓ and ✗ say whether a bar is met.

This page is written by `make performance-page` from the figures in `performance/`; edit those by measuring:
`make bench` writes `build/bench.json`, and a copy of it in `performance/` is a machine of this page.
How each part measures stands in [benchmarks.md](benchmarks.md); GPUs in [gpu.md](gpu.md).
"""


def ratios_table(figures: Mapping[str, Any]) -> Table:
    """Every ratio with its bar."""
    table = Table("part", "what", "ratio", "value", "bar", "", title="ratios", title_justify="left")
    for column in table.columns[3:5]:
        column.justify = "right"
    for line in lines(figures):
        colour = {True: "green", False: "red", None: "none"}[line.met]
        table.add_row(
            line.part,
            line.what,
            line.ratio,
            number(line.value),
            bar_text(line),
            verdict(line.met),
            style=colour,
        )
    return table


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bar_text(line: Line) -> str:
    """Such as ``<= 1.15``; empty without a bar."""
    return "" if line.bar is None else f"{'≤' if line.sense == 'at most' else '≥'} {number(line.bar)}"


def verdict(met: bool | None) -> str:
    """✓, ✗ or nothing."""
    return {True: "✓", False: "✗", None: ""}[met]


def page(machines: Mapping[str, Mapping[str, Any]], pictures: Mapping[str, Sequence[Path]]) -> str:
    """docs/performance.md.

    Args:
        machines: the figures by the name of their file.
        pictures: by part, as the page links them.
    """
    told = [INTRODUCTION, *_machines(machines), *_summary(machines)]
    for section in SECTIONS:
        measured = {name: f for name, f in machines.items() if f.get(section.part)}
        if measured:
            told += [f"## {section.title}: `{section.part}`\n{fill(section.about, 118)}\n"]
            told += [_section(section, figures) for figures in measured.values()]
            told += [f"![{section.title}]({path})\n" for path in pictures.get(section.part, ())]
    return "\n".join(told)


def _machines(machines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## Machines\n"
    yield "| | processor | family | Triton | onnxruntime | Python | kernel | governor | threads a run |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, figures in machines.items():
        about = figures["environment"]
        packages = about["packages"]
        cells = (
            *(name, about["machine"], f"{about['family']} ({about['fingerprint']})"),
            f"of nvidia-pytriton {packages['nvidia-pytriton']}",
            *(packages["onnxruntime"], about["python"], about["kernel"], about["governor"]),
            about["threads"]["a run of a graph"],
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def _summary(machines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Ratios that have a bar, a column a machine."""
    found: dict[tuple[str, str, str], dict[str, Line]] = {}
    for name, figures in machines.items():
        for line in lines(figures):
            if line.bar is not None:
                found.setdefault((line.what, line.ratio, bar_text(line)), {})[name] = line
    yield "## Bars\n"
    yield f"| what | ratio | bar | {' | '.join(machines)} |"
    yield f"|---|---|---|{'---|' * len(machines)}"
    for (what, ratio, bar), values in found.items():
        cells = (
            f"{number(values[name].value)} {verdict(values[name].met)}" if name in values else "not measured"
            for name in machines
        )
        yield f"| {what} | {ratio} | {bar} | {' | '.join(cells)} |"
    yield ""


def _section(section: Section, figures: Mapping[str, Any]) -> str:
    when = figures["measured"][section.part]
    where = figures["environment"]["machine"]
    command = section.command or f"make bench PARTS={section.part}"
    headings = [*section.labels, *(ratio.heading for ratio in section.ratios), *(h for _, h in section.also)]
    told = [
        f"{where}; `{command}`, {when['date']}, commit {when['commit']}.\n",
        f"| {' | '.join(heading.replace('_', ' ') for heading in headings)} |",
        f"|{'---|' * len(headings)}",
    ]
    for row in figures[section.part]:
        if section.rows(row):
            cells = [
                *(str(row[label]) for label in section.labels),
                *(_ratio_cell(ratio, row) for ratio in section.ratios),
                *(_cell(column, row[column]) for column, _ in section.also),
            ]
            told.append(f"| {' | '.join(cells)} |")
    return "\n".join([*told, ""])


def _ratio_cell(ratio: Ratio, row: Row) -> str:
    """Bold where the bar is not met."""
    found = [
        f"**{number(x.value)}**" if x.met is False else number(x.value)
        for x in lines_of("", (), (ratio,), row)
    ]
    return "".join(found)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.endswith("cosine"):
        return f"{value:.6f}"
    if column.endswith("_share"):
        return f"{value:.0%}"
    return number(value) if isinstance(value, float) else str(value)
