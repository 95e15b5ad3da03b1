"""Every option that deploy/ and its documentation give is one that the command has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from resonance.serving.cli import serve
from resonance.serving.gateway.cli import gateway
from tests.deploy.conftest import ENTRYPOINT, TLS
from tests.deploy.files import DEPLOY, ROOT, read_yaml
from tests.deploy.test_chart import CHOICES, pod_of, render


def options(command: Callable[..., Any]) -> set[str]:
    app = typer.Typer()
    app.command()(command)
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}


SERVE, GATEWAY = options(serve), options(gateway)


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where it stands, words from `serve` on)."""
    for path in (DEPLOY / "compose.yaml", TLS):
        yield path.name, read_yaml(path)["services"]["server"]["command"][2:]
    for choice, values in CHOICES.items():
        yield f"chart, {choice}", pod_of(render(values))["containers"][0]["args"][2:]
    text = (ROOT / "docs" / "deploy.md").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        for words in re.findall(r"resonance serve ([^`#]*)", line):
            yield f"docs: {line[:60]}", words.split()
    for line in text.splitlines():
        for words in re.findall(r"resonance gateway (--[^`#]*)", line):
            yield f"docs: {line[:60]}", ["--", *words.split()]
    (alone,) = re.findall(r'exec resonance gateway (--.*) "\$@"', ENTRYPOINT.read_text())
    yield "entry point, the gateway alone", ["--", *alone.split()]
    own, front = re.findall(r"own\+?=\((--.*)\)", ENTRYPOINT.read_text()), "-- --spool-folder x"
    assert len(own) == 4
    yield "entry point", ["--gateway", *" ".join(own).split(), *front.split()]


COMMANDS = list(commands())


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[where for where, _ in COMMANDS])
def test_options_are_the_commands_own(where, words):
    border = words.index("--") if "--" in words else len(words)
    for given, known in ((words[:border], SERVE), (words[border + 1 :], GATEWAY)):
        unknown = {word.split("=")[0] for word in given if word.startswith("--")} - known
        assert unknown == set(), f"{where}: no such options; there are {sorted(known)}"


def test_both_sides_of_the_border_are_seen():
    assert len(COMMANDS) >= 2 + len(CHOICES) + 2
    given = {word.split("=")[0] for _, words in COMMANDS for word in words}
    assert {"--gateway", "--tls-cert", "--max-spool-bytes", "--spool-folder", "--metrics-host"} <= given
