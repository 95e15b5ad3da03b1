"""Paths of which the system will say nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resonance.clients.errors import UsageError
from resonance.clients.new_files import check_new_file, check_no_input, check_own_json
from resonance.clients.paths import is_file, is_folder


@pytest.mark.parametrize("name", ["x" * 300, "zero\0byte", "gone"])
def test_what_cannot_be_looked_at_is_not_there(name: str, tmp_path: Path) -> None:
    assert not is_file(tmp_path / name)
    assert not is_folder(tmp_path / name)


def test_no_file_can_have_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--html .*xxx: no file can be there \(File name too long\)"):
        check_new_file(tmp_path / ("x" * 300), "--html")


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    read, other = tmp_path / "film.mp4", tmp_path / "other.mp4"
    check_no_input(read, [read])  # nothing is there to be lost
    for path in (read, other):
        path.write_bytes(b"")
    check_no_input(read, [None, other, tmp_path / "gone.mp4"])
    (tmp_path / "link.mp4").symlink_to(read)
    with pytest.raises(UsageError, match=r"link\.mp4: it would take the place of what is read"):
        check_no_input(tmp_path / "link.mp4", [other, read])


@pytest.mark.parametrize("content", ['{"reel": 1}', "[]", "", "{", "\ud800", '["reel", "clips"]'])
def test_json_of_another_kind_is_not_written_over(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    check_own_json(path, ("reel", "clips"), "list of a reel")
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=r"a\.json: a file that is no list of a reel.*move it"):
        check_own_json(path, ("reel", "clips"), "list of a reel")
    path.write_text('{"reel": "a.mp4", "clips": [], "fps": 25}')
    check_own_json(path, ("reel", "clips"), "list of a reel")


@pytest.mark.parametrize("there", [True, False])
def test_what_may_not_be_written_is_told_before_the_work(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`embed` of a night would find it out in the morning."""
    folder, path = tmp_path / "theirs", tmp_path / "theirs" / "out.jsonl"
    folder.mkdir()
    if there:
        path.touch()
    may_not = path if there else folder
    (tmp_path / "link").symlink_to(path)

    def access(asked: Path, mode: int) -> bool:  # root may everything
        return not (mode & os.W_OK and Path(asked).resolve() == may_not)

    monkeypatch.setattr(os, "access", access)
    for wanted in (path, tmp_path / "link"):
        with pytest.raises(UsageError, match=f"--output {wanted}: nothing may be written there"):
            check_new_file(wanted, "--output")
    check_new_file(tmp_path / "mine", "--output")
