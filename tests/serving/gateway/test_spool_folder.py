"""What is said at the start of the folder that uploads are to lie in."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from resonance.serving.gateway.reading import check_spool_folder, spool_folder
from resonance.serving.gateway.reading.spool_folder import file_system_of

TIB = 1 << 40


def test_one_line_warns_of_memory_and_of_too_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_folder, "file_system_of", lambda folder: "ext4")
    check_spool_folder(tmp_path, 1)
    assert caplog.messages == []
    check_spool_folder(tmp_path, 1000 * TIB)
    monkeypatch.setattr(spool_folder, "file_system_of", lambda folder: "tmpfs")
    check_spool_folder(tmp_path, 1000 * TIB)
    small, memory = caplog.messages
    assert f"{tmp_path}: " in small
    assert f"bytes are free, fewer than --max-spool-bytes ({1000 * TIB:,}); give --spool-folder" in small
    assert f"{tmp_path}: on a tmpfs, so uploads lie in memory" in memory
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_the_file_system_is_told_by_the_kernels_list_of_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert file_system_of(Path("/dev/shm")) == "tmpfs"  # noqa: S108
    assert file_system_of(Path("/proc")) == "proc"
    monkeypatch.setattr(spool_folder, "_MOUNTS", tmp_path / "none")
    assert file_system_of(tmp_path) == ""
