"""docs/gateway.md lists every limit with its flag and default, as `resonance gateway --help` has them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from click.testing import CliRunner
from typer import Typer
from typer.main import get_command

from resonance.serving.gateway.cli import gateway
from resonance.serving.gateway.limits import GIB, KIB, MIB, GatewayLimits

DOCS = Path(__file__).resolve().parents[3] / "docs" / "gateway.md"


def shown(value: float, name: str) -> str:
    if value == 0:
        return "by cores"
    if name.endswith(("_bytes", "_pixels")):
        unit, size = next((u, s) for u, s in (("Gi", GIB), ("Mi", MIB), ("Ki", KIB)) if value % s == 0)
        return f"{value / size:g} {unit}{'B' if name.endswith('_bytes') else ''}"
    return f"{value:g}{' s' if name.endswith('_s') else ''}"


def test_the_docs_have_a_row_for_each_limit() -> None:
    text = DOCS.read_text(encoding="utf-8")
    missing = [
        row
        for bound in fields(GatewayLimits)
        if (
            row := f"| `--{bound.name.replace('_', '-')}` | {shown(bound.default, bound.name)} | "
            f"{bound.metadata['help']} |"
        )
        not in text
    ]
    assert not missing, "\n".join(missing)


def test_the_command_has_a_flag_for_each_limit() -> None:
    app = Typer()
    app.command()(gateway)
    told = CliRunner().invoke(get_command(app), ["--help"], env={"COLUMNS": "200"}).output
    for bound in fields(GatewayLimits):
        assert f"--{bound.name.replace('_', '-')}" in told
    refused = CliRunner().invoke(get_command(app), ["--max-media-bytes", "0", "--triton", "127.0.0.1:1"])
    assert refused.exit_code == 1
    assert "max_media_bytes is 0; expected more than 0" in refused.output
