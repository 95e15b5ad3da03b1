"""Folders that Triton makes in /tmp, and leaves when it is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from resonance.serving import environments, shm
from resonance.serving.server import ServerSettings, TritonServer

STARTS = 20  # of which one is alone on the machine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /tmp."""
    found = tmp_path / "place"
    found.mkdir()
    monkeypatch.setattr(environments, "_PLACE", found)
    return found


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


def test_a_killed_triton_leaves_no_folder(small_repository: Path):
    server = TritonServer(ServerSettings(model_repository=small_repository))
    for _ in range(STARTS):
        with server:
            noted = server._folder / "environments"
            if noted.is_dir():  # else another server started meanwhile
                folders = [note.readlink() for note in noted.iterdir()]
                assert len(folders) == 2, "one for the backend python, one for onnxruntime"
                assert all(folder.is_dir() for folder in folders)
                os.kill(server.pid, signal.SIGKILL)
                break
    else:
        pytest.fail(f"none of {STARTS} starts was alone")
    assert not any(folder.exists() for folder in folders)


def test_what_appears_at_a_start_is_removed_and_what_was_there_stays(place: Path, run_folder: Path):
    (place / "python_env_before").mkdir()
    (place / "python_env_Other1").mkdir()
    watch = environments.Watch(run_folder, 2)
    (place / "python_env_Mine01").mkdir()
    (place / "python_env_Mine02").mkdir()
    (place / "python_env_file01").touch()
    (place / "python_env_linked").symlink_to(run_folder)
    watch.note()
    environments.remove(run_folder)
    assert sorted(p.name for p in place.iterdir()) == [
        "python_env_Other1", "python_env_before", "python_env_file01", "python_env_linked",
    ]  # fmt: skip
    environments.remove(run_folder)  # gone already


def test_two_starts_at_once_are_not_told_apart_and_a_folder_in_use_stays(place: Path, run_folder: Path):
    watch = environments.Watch(run_folder, 1)
    for name in ("python_env_Mine01", "python_env_Other1"):
        (place / name).mkdir()
    watch.note()
    environments.remove(run_folder)
    assert len(list(place.iterdir())) == 2

    watch = environments.Watch(run_folder, 1)
    (place / "python_env_Mine02" / "unpacked").mkdir(parents=True)
    watch.note()
    environments.remove(run_folder)
    assert (place / "python_env_Mine02" / "unpacked").is_dir()


def test_a_note_cannot_have_other_folders_removed(place: Path, run_folder: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere" / "python_env_Mine01"
    elsewhere.mkdir(parents=True)
    (place / "important").mkdir()
    notes = run_folder / "environments"
    notes.mkdir()
    (notes / "python_env_Mine01").symlink_to(elsewhere)
    (notes / "python_env_Mine02").symlink_to(place / "important")
    environments.remove(run_folder)
    assert elsewhere.is_dir()
    assert (place / "important").is_dir()


def test_what_a_killed_supervisor_noted_is_removed_at_the_next_start(place: Path, tmp_path: Path):
    namespace, pid, start = shm.own_prefix().split("-")[1:4]
    run_folder = tmp_path / f"resonance-{namespace}-{pid}-{int(start) + 1}-1-run"
    run_folder.mkdir()
    watch = environments.Watch(run_folder, 1)
    (place / "python_env_Mine01").mkdir()
    watch.note()
    assert shm.remove_stale_regions(tmp_path) == [run_folder.name]
    assert list(place.iterdir()) == []
