"""`resonance audit`: a group of commands, each an audit that an installed entry point names."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

GROUP = "resonance.audits"

app = typer.Typer(help="Audits of a library and of what is recommended from it; limits make them gates.")
for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
    app.command(point.name)(point.load())
