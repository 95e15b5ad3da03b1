"""The Python in the documents is complete: it compiles, and defines or imports each of its names."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from resonance.clients.discovery.history import Viewing
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.taste import make_taste, save_taste
from tests.clients.discovery.made import DESCRIPTOR, random_titles, write

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "training/*.md")
    for path in sorted(ROOT.glob(pattern))
}


def python_of(path: Path) -> str:
    """The Python blocks of a document as one module, each line where it stands there."""
    lines, inside = [], False
    for line in path.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


def compiled(name: str) -> CodeType:
    return compile(python_of(DOCUMENTS[name]), name, "exec")


def undefined(text: str) -> list[str]:
    """Names that a module uses and does not define."""
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821", "--output-format=json", "-"]
    done = subprocess.run(ruff, input=text, capture_output=True, text=True, check=False)
    return [f"line {each['location']['row']}: {each['message']}" for each in json.loads(done.stdout)]


def missing(text: str) -> list[str]:
    """What a module imports of this package that is not there."""
    wanted = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resonance")
        for alias in node.names
    ]
    return [f"{module}.{name}" for module, name in wanted if not _is_there(str(module), name)]


def _is_there(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name) or (
        importlib.util.find_spec(f"{module}.{name}") is not None
    )


@pytest.mark.parametrize("name", [name for name, path in DOCUMENTS.items() if python_of(path).strip()])
def test_python_in_a_document_is_complete(name: str) -> None:
    text = python_of(DOCUMENTS[name])
    compiled(name)
    assert undefined(text) == []
    assert missing(text) == []


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the documents have it: titles a, b and more, the space, a taste."""
    first, second, *others = random_titles(20)
    named = [replace(first, media_id="a"), replace(second, media_id="b")]
    write(str(tmp_path / "library"), [*named, *others])
    (tmp_path / "space.json").write_text(DESCRIPTOR.to_json())
    history = [Viewing("t3", 1.0, datetime(2026, 11, 1, tzinfo=UTC))]
    taste, _ = make_taste(open_library(str(tmp_path / "library")), DESCRIPTOR, history)
    save_taste(taste, tmp_path / "taste.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["docs/axes.md", "docs/explanations.md"])
def test_what_needs_no_server_runs(library: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {}
    exec(compiled(name), space)  # noqa: S102 - our own documents
    if name == "docs/axes.md":
        assert space["values"].shape == (2, len(DESCRIPTOR.axes))
    else:
        assert space["hits"][0].facts.media_id == "t3"  # what was watched is most alike
        assert "“b”" in capsys.readouterr().out
