"""The search among ten thousand titles, as far as it says what it needs."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from resonance.loadtest.discovery.recall import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--titles", "1001"), "--titles 1001: expected more than the 1001 that are searched for"),
        (("--titles", "40", "--recipe", "smoke"), "--titles 40: expected more than the 40"),
        (("--recipe", "none"), "no recipe is called 'none'; known are cpu, gpu, gpu-short, smoke"),
    ],
)
def test_wrong_use_is_told_before_the_work(arguments: tuple[str, ...], said: str) -> None:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", "").split())
