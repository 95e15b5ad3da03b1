"""A harness that cannot be run says so on one line, with a code that is no verdict."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from resonance.loadtest.bench.__main__ import bench
from resonance.loadtest.bench.baseline import BaselineError
from resonance.loadtest.bench.check import bench_check
from resonance.loadtest.bench.serving_path import DisagreementError
from resonance.loadtest.exits import FAILED, IN_THE_WAY, NOT_RUN, exits
from resonance.loadtest.gateway.__main__ import load as gateway_load
from resonance.loadtest.load.__main__ import load
from resonance.serving.errors import RepositoryError


def run(command: Callable[..., Any], *words: str) -> tuple[int, str]:
    """Exit code, and what was printed."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    result = CliRunner().invoke(app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (load, ["constant", "--repository", "FOLDER/none", "--out", "FOLDER/out"]),
        (gateway_load, ["latency", "--repository", "FOLDER/none"]),
        (bench_check, ["--repository", "FOLDER/none", "--folder", "FOLDER"]),
        (bench, ["path", "--family-repository", "FOLDER/none"]),
    ],
)
def test_without_models(command: Callable[..., Any], words: list[str], tmp_path: Path) -> None:
    code, said = run(command, *(word.replace("FOLDER", str(tmp_path)) for word in words))
    assert (code, said.count("\n")) == (NOT_RUN, 1), said
    assert str(tmp_path / "none") in said


@pytest.mark.parametrize("limit", ["max-uploads", "max-uploads=", "max-uploads=many"])
def test_a_limit_without_a_number(limit: str) -> None:
    code, said = run(gateway_load, "latency", "--limit", limit)
    assert code == NOT_RUN
    assert "max-uploads=3" in said


def test_the_code_is_of_the_error() -> None:
    for error, code in (
        (RepositoryError("a\n b"), NOT_RUN),
        (BaselineError("a\n b"), NOT_RUN),
        (DisagreementError("a\n b"), FAILED),
    ):
        shown = StringIO()
        with (
            pytest.raises(typer.Exit) as ended,
            exits(Console(file=shown), FAILED, DisagreementError),
            exits(Console(file=shown), NOT_RUN, *IN_THE_WAY, BaselineError),
        ):
            raise error
        assert (ended.value.exit_code, shown.getvalue()) == (code, "a b\n")
    with pytest.raises(ZeroDivisionError), exits(Console(quiet=True), NOT_RUN, *IN_THE_WAY):
        raise ZeroDivisionError
