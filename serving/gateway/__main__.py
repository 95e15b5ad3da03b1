"""`python -m resonance.serving.gateway` is `resonance gateway`."""

import typer

from resonance.serving.gateway.cli import gateway

typer.run(gateway)
