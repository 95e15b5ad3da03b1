"""`resonance audit`: a group of commands, each an audit."""

from __future__ import annotations

import typer

app = typer.Typer(help="Audits of a library and of what is recommended from it; limits make them gates.")
