"""The ready file: whole, or not there, and never a reason not to serve."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from resonance.serving.errors import StartError
from resonance.serving.health import ModelState
from resonance.serving.ready_file import ReadyFile
from tests.small_disk import full_disk

LINE = "ready grpc=127.0.0.1:8001"
STATES = {"encoder": ModelState(name="encoder", serving=True)}


def test_a_place_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"ready file .*/none/ready: cannot be written"):
        ReadyFile(tmp_path / "none" / "ready")


@pytest.mark.parametrize("kind", ["device", "folder", "text"])
def test_what_is_no_ready_file_is_not_removed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    if kind == "device":
        full_disk(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("readings of the week\n")
    before = path.lstat()
    with pytest.raises(StartError, match=r"ready file .*/ready: something else is there"):
        ReadyFile(path)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("left", ["", f"{LINE} space=none\n"])
def test_one_that_a_server_left_is_removed(left: str, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.write_text(left)
    ReadyFile(path)
    assert list(tmp_path.iterdir()) == []


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
