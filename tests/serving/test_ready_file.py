"""The ready file: whole, or not there, and never a reason not to serve."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from resonance.serving.errors import StartError
from resonance.serving.health import ModelState
from resonance.serving.ready_file import ReadyFile

LINE = "ready grpc=127.0.0.1:8001"
STATES = {"encoder": ModelState(name="encoder", serving=True)}


def test_a_place_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"ready file .*/none/ready: cannot be written"):
        ReadyFile(tmp_path / "none" / "ready")


def test_a_folder_that_vanishes_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    file = ReadyFile(folder / "ready")
    file.update(LINE, STATES, {}, {})
    assert (folder / "ready").read_text().startswith("ready grpc=")
    shutil.rmtree(folder)
    with caplog.at_level(logging.WARNING):
        for reloads in (1, 2, 3):
            file.update(LINE, STATES, {"encoder": reloads}, {})
    assert caplog.text.count("cannot be written") == 1
    file.remove()
    folder.mkdir()
    file.update(LINE, STATES, {"encoder": 3}, {})
    assert "reloads=3" in (folder / "ready").read_text()
    assert [path.name for path in folder.iterdir()] == ["ready"]
