"""`resonance audit`: a group of commands, each an audit."""

from __future__ import annotations

import typer

from resonance.clients.audit.bias_cli import bias
from resonance.clients.audit.metadata_cli import metadata

app = typer.Typer(help="Audits of a library and of what is recommended from it; limits make them gates.")
app.command()(metadata)
app.command()(bias)
