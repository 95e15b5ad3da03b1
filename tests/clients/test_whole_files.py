"""Files that take another's place: with its rights, or in it where the folder takes no other."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from resonance.clients.errors import UsageError
from resonance.clients.new_files import check_new_file, whole_file
from tests.small_disk import disk_of


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


def takes_no_other(folder: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a file that is mounted into a container by itself: its folder is another's, or it is busy."""
    real = getattr(os, step)

    def refuse(path: str | Path, *given: Any, **options: Any) -> Any:
        if Path(path).parent == folder:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return real(path, *given, **options)

    monkeypatch.setattr(os, step, refuse)


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_file_whose_folder_takes_no_other_is_written_itself(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before, and longer")
    before = path.stat().st_ino
    takes_no_other(tmp_path, step, monkeypatch)
    write(path)
    assert (path.read_text(), path.stat().st_ino) == ("new", before)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["open", "replace"])
def test_such_a_file_stays_as_it_was_until_all_of_the_new_one_is_there(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("of before")
    takes_no_other(tmp_path, step, monkeypatch)

    def break_off() -> None:
        with whole_file(path) as half:
            half.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]


def test_such_a_file_stays_as_it_was_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before")
    takes_no_other(tmp_path, "replace", monkeypatch)

    def fill() -> None:
        with ExitStack() as full, whole_file(path) as half:
            half.write_bytes(bytes(1 << 16))
            full.enter_context(disk_of(1 << 15))

    with pytest.raises(OSError, match="File too large"):
        fill()
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_where_writing_into_such_a_file_breaks_off_all_of_the_new_one_is_kept(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before")
    takes_no_other(tmp_path, "replace", monkeypatch)

    def copy(new: BinaryIO, file: BinaryIO) -> None:
        file.write(new.read(1))
        raise error

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with pytest.raises(type(error)) as told:
        write(path)
    (kept,) = set(tmp_path.iterdir()) - {path}
    assert kept.read_text() == "new"
    assert kept.name.startswith("results.jsonl.")
    if isinstance(error, OSError):
        assert told.value.strerror == f"Input/output error; all of it stands in {kept}"
        assert told.value.filename == str(path)


def test_without_a_temporary_folder_it_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before")
    takes_no_other(tmp_path, "open", monkeypatch)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(FileNotFoundError, match=r"nor does the temporary one: No usable .*; set TMPDIR"):
        write(path)
    real = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path and real(place, mode))
    with pytest.raises(
        UsageError, match=r"results\.jsonl: neither its folder nor the temporary one .* TMPDIR"
    ):
        check_new_file(path, "--output")
    assert path.read_text() == "of before"


def test_a_mount_that_knows_no_rights_keeps_no_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before")

    def refuse(*given: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    write(path)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_somebody_else_stays_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a group's file would be its last writer's, and be read by that one's group and not by theirs."""
    path = tmp_path / "taste.json"
    path.write_text("old")
    path.chmod(0o660)
    before = path.stat()

    def refuse(*given: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    real = os.fstat

    def another(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        values = list(found)
        values[5] += found.st_ino != before.st_ino  # the group: a new file's is of whoever makes it
        return os.stat_result(values)

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fstat", another)
    with whole_file(path) as half:
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        half.write_text("new")
    after = path.stat()
    assert (path.read_text(), after.st_ino) == ("new", before.st_ino)
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_pipe_writes_into_the_pipe(tmp_path: Path) -> None:
    """As to /dev/stdout: what that is has a name in /proc which leads nowhere."""
    reading, writing = os.pipe()
    path = tmp_path / "out.jsonl"
    path.symlink_to(f"/proc/self/fd/{writing}")
    write(path)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"new"
    assert path.is_symlink()
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
    with pytest.raises(UsageError, match="symbolic links"):
        check_new_file(path)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("of before")
    with pytest.raises(TypeError):
        write(path, b"no text")  # type: ignore[arg-type]
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]


#: Begins a file, says so, and waits.
WRITER = """
import sys, time
from pathlib import Path
from resonance.clients.new_files import whole_file
with whole_file(Path(sys.argv[1])) as half:
    half.write_text("half of it")
    print(half, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_removed_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        for name in ("killed", "just killed", "alive")
    ]
    try:
        left, new, held = [Path(w.stdout.readline().strip()) for w in writers if w.stdout is not None]
        for writer in writers[:2]:
            writer.kill()
            writer.wait()
        for half in (left, held):
            os.utime(half, (0, 0))
        write(tmp_path / "other")
        assert sorted(tmp_path.iterdir()) == sorted([new, held, tmp_path / "other"])
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
