"""The recipes in docs/recipes run as they stand there, on a small library."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.space import unit
from tests.clients.discovery.made import DESCRIPTOR, Made, write

RECIPES = Path(__file__).parents[3] / "docs" / "recipes"
KINDS, TITLES = 6, 240


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of six kinds of titles, what viewers who like one kind did, and labels of one kind."""
    chance = np.random.default_rng(7)
    centres = unit(chance.standard_normal((KINDS, 3, 596)))
    titles = [
        Made(
            f"t{at}",
            unit(centres[at % KINDS] + 1.2 * unit(chance.standard_normal((2, 3, 596)))),
            present=[(True, True, True), (True, False, True)][at % 5 == 0],
            attributes={"date": f"2026-{at % 12 + 1:02}-15"},
        )
        for at in range(TITLES)
    ]
    write(str(tmp_path / "library"), titles)
    (tmp_path / "space.json").write_text(DESCRIPTOR.to_json())
    with (tmp_path / "clicks.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("viewer", "media_id", "clicked"))
        for viewer in range(24):
            for at in chance.choice(TITLES, 40, replace=False):
                liked = at % KINDS == viewer % KINDS
                rows.writerow((f"v{viewer}", f"t{at}", int(chance.random() < (0.8 if liked else 0.1))))
    with (tmp_path / "labels.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("media_id", "flagged"))
        rows.writerows((f"t{at}", int(at % KINDS < 3)) for at in range(TITLES))
    (tmp_path / "watched.csv").write_text(
        "media_id,completion,watched_at,signal\nt0,1.0,2026-11-20,\nt12,0.95,2026-11-21,\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks_of(name: str) -> list[tuple[str, str]]:
    """(language, text) of the code in a recipe."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (RECIPES / name).read_text(), re.MULTILINE | re.DOTALL)


def run(name: str) -> dict[str, Any]:
    """Everything a recipe tells to run but installations, in one namespace."""
    space: dict[str, Any] = {}
    for language, text in blocks_of(name):
        if language == "python":
            exec(compile(text, name, "exec"), space)  # noqa: S102 - our own documents
        for line in text.splitlines() if language == "sh" else ():
            found = CliRunner().invoke(make_app(), shlex.split(line)[1:])
            assert found.exit_code == 0, f"{line}\n{found.output}"
            space["said"] = found.stdout
    return space


def test_every_recipe_is_short_and_is_run_here() -> None:
    names = sorted(path.name for path in RECIPES.glob("*.md"))
    assert names == ["cold-start.md", "moderation.md", "not-for.md", "ranking.md"]
    for name in names:
        assert len((RECIPES / name).read_text().splitlines()) <= 80, name
        assert any(language == "python" for language, _ in blocks_of(name)), name


def test_ranking(here: Path) -> None:
    """Clicks follow the kind at 0.8 against 0.1, so titles never clicked are ranked well above chance."""
    assert run("ranking.md")["auc"] > 0.7


def test_cold_start(here: Path) -> None:
    space = run("cold-start.md")
    watched, fresh, page = {"t0", "t12"}, space["fresh"], space["page"]
    assert not watched & set(fresh)
    assert all(int(name[1:]) % 12 + 1 >= 6 for name in fresh)
    assert sum(int(name[1:]) % KINDS == 0 for name in fresh[:5]) >= 4  # the kind that was watched
    assert page[4] == fresh[1]  # the first of them has been shown enough
    assert len(page) == len(set(page))
    assert '"hits"' in space["said"]


def test_moderation(here: Path) -> None:
    space = run("moderation.md")
    assert space["precision"] > 0.8
    assert space["recall"] > 0.5
    assert space["least"](10, 10) < 0.85  # ten of ten are no certainty


def test_not_for(here: Path) -> None:
    assert "vectors of two spaces are never compared" in run("not-for.md")["refused"]
