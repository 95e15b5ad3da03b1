"""`resonance audit`: a group of commands, each an audit."""

from __future__ import annotations

import typer

from resonance.clients.audit.bias_cli import bias
from resonance.clients.audit.coldstart_cli import coldstart
from resonance.clients.audit.metadata_cli import metadata
from resonance.clients.audit.resonance_cli import resonance

app = typer.Typer(help="Audits of a library and of what is recommended from it; limits make them gates.")
app.command()(metadata)
app.command()(bias)
app.command()(coldstart)
app.command()(resonance)
