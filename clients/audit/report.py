"""An audit's report: figures with intervals, held against limits; as JSON, as text, and as one HTML file."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from resonance.clients.new_files import whole_file
from resonance.clients.plot import write_picture


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure; `interval`: (low, high) at 95%, None where it has none; `about`: how to read it."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    unit: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """A stated limit of a measure: at least `least`, at most `most`."""

    measure: str
    least: float | None = None
    most: float | None = None

    def broken_by(self, value: float) -> bool:
        """Whether a value lies outside, or is no number."""
        low = self.least is not None and not value >= self.least
        return low or (self.most is not None and not value <= self.most)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what it says in sentences, its measures, a table of examples, pictures."""

    heading: str
    text: str = ""
    measures: tuple[Measure, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A whole audit.

    Attributes:
        facts: what it was made of: store, fingerprint, titles, seed, whatever a reader must know.
        limits: those that were stated; a measure that is not there breaks its limit.
        notes: sentences that nobody may miss, wherever the report is read.
        missing: by measure that such a report may have, why this one has it not.
    """

    title: str
    facts: Mapping[str, Any]
    sections: tuple[Section, ...]
    limits: tuple[Limit, ...] = field(default=())
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    def measures(self) -> dict[str, Measure]:
        """All of them by name."""
        return {measure.name: measure for section in self.sections for measure in section.measures}

    def broken(self) -> list[Limit]:
        """Limits that do not hold."""
        found = self.measures()
        return [
            limit
            for limit in self.limits
            if limit.measure not in found or limit.broken_by(found[limit.measure].value)
        ]

    def verdicts(self) -> list[str]:
        """Each broken limit in words: what was expected, and what came."""
        found = self.measures()
        return [_verdict(limit, found, self.missing) for limit in self.broken()]

    def to_json(self) -> str:
        """Facts, measures, tables and verdicts as one JSON object; pictures are left out."""
        sections = [
            {
                "heading": section.heading,
                "text": section.text,
                "measures": [asdict(measure) for measure in section.measures],
                "rows": [dict(zip(section.columns, row, strict=True)) for row in section.rows],
            }
            for section in self.sections
        ]
        return json.dumps(
            {
                "title": self.title,
                **self.facts,
                "notes": list(self.notes),
                "sections": sections,
                "broken": [asdict(limit) for limit in self.broken()],
            },
            ensure_ascii=False,
            allow_nan=False,
        )

    def to_html(self) -> str:
        """One file that needs nothing else: no script, no address, pictures inside."""
        verdicts = "".join(f"<li class=broken>{escape(verdict)}</li>" for verdict in self.verdicts())
        verdicts += "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        facts = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in self.facts.items()
        )
        body = "".join(_section(section) for section in self.sections)
        return (
            "<!doctype html><html lang=en><meta charset=utf-8>"
            '<meta name=viewport content="width=device-width">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style>"
            f"<main><h1>{escape(self.title)}</h1><ul>{verdicts}</ul><dl>{facts}</dl>{body}</main></html>"
        )

    def write_html(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises OSError where it cannot be."""
        with whole_file(path) as half:
            half.write_text(self.to_html(), encoding="utf-8")

    def show(self, console: Console) -> None:
        """Measures and verdicts as a person reads them in a terminal."""
        table = Table(title=self.title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for head in ("measure", "value", "95%"):  # none is cut: limits name measures
            table.add_column(head, no_wrap=True)
        table.add_column("")
        for measure in self.measures().values():
            value, interval = f"{measure.value:.4g}{measure.unit}", _interval(measure)
            table.add_row(plain(measure.name), plain(value), plain(interval), plain(measure.about))
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        for verdict in self.verdicts():
            console.print(f"broken: {verdict}", style="red", markup=False, highlight=False, soft_wrap=True)


def _verdict(limit: Limit, found: Mapping[str, Measure], missing: Mapping[str, str]) -> str:
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", limit.least), ("at most", limit.most))
        if bound is not None
    ]
    if limit.measure in found:
        came = f"came {found[limit.measure].value:.4g}"
    elif limit.measure in missing:
        came = missing[limit.measure]
    else:
        near = get_close_matches(limit.measure, found, n=3) or sorted(found)
        came = f"came no such measure; there are {', '.join(near)}"
    return f"{limit.measure}: expected {' and '.join(bounds)}; {came}"


def _section(section: Section) -> str:
    parts = [f"<section><h2>{escape(section.heading)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    if section.measures:
        rows = [(m.name, f"{m.value:.4g}{m.unit}", _interval(m), m.about) for m in section.measures]
        parts.append(_table(("measure", "value", "95%", "about"), rows))
    parts += [f'<img alt="{escape(section.heading)}" src="{_inside(figure)}">' for figure in section.figures]
    if section.rows:
        parts.append(_table(section.columns, section.rows))
    return "".join([*parts, "</section>"])


def _interval(measure: Measure) -> str:
    if measure.interval is None:
        return ""
    low, high = measure.interval
    return f"{low:.3g} – {high:.3g}{measure.unit}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _inside(figure: Figure) -> str:
    """A picture as an address that holds it."""
    data = io.BytesIO()
    write_picture(figure, data)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { font-family: Georgia, serif; line-height: 1.2; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; }
th { border-bottom: 1px solid; } td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; background: #fff; }
.broken { color: #b3261e; font-weight: 600; }
@media (prefers-color-scheme: dark) { .broken { color: #ff8a80; } }
"""
