"""Files that take another's place: with its rights, or in it where the folder takes no other."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from resonance.clients.new_files import whole_file


def write(path: Path, text: str = "new") -> None:
    with whole_file(path) as half:
        half.write_text(text)


def test_rights_stay_as_they_are(tmp_path: Path) -> None:
    """A saved taste is of what somebody watched."""
    path = tmp_path / "taste.json"
    path.write_text("old")
    path.chmod(0o600)
    if os.getuid() == 0:
        os.chown(path, 1234, 1234)
    before = path.stat()
    write(path)
    after = path.stat()
    assert path.read_text() == "new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_file_whose_folder_takes_no_other_is_written_itself(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is mounted into a container by itself."""
    path = tmp_path / "results.jsonl"
    path.write_text("of before")

    def refuse(*given: object) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, step, refuse)
    write(path)
    monkeypatch.undo()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_takes_no_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        write(tmp_path / "new")


def test_a_file_that_may_not_be_written_to_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may everything
    with pytest.raises(PermissionError):
        write(path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("old", 0o444)


def test_a_link_to_itself_is_an_error_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        write(path)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before")
    with pytest.raises(TypeError):
        write(path, b"no text")  # type: ignore[arg-type]
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]
