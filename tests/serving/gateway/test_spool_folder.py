"""What is said at the start of the folder that uploads are to lie in."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from resonance.clients.errors import OverloadedError
from resonance.serving.gateway.reading import SpoolBudget, check_spool_folder, spool_folder
from resonance.serving.gateway.reading.spool import Spool
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


def test_a_disk_that_takes_no_more_is_told_once_a_minute_and_each_upload_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[bool] = []
    budget = SpoolBudget(1 << 20, lambda: refused.append(True))
    open_spool = Spool(tmp_path, budget)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(2):
        with pytest.raises(OverloadedError, match="no room for an upload on disk"):
            open_spool.write(0, b"bytes")
    with pytest.raises(OverloadedError, match="no file for an upload in"):
        Spool(tmp_path / "gone", budget)
    with pytest.raises(OverloadedError, match="uploads hold"):  # which is no fault of the disk
        open_spool.write(0, bytes(2 << 20))
    open_spool.close()
    assert len(refused) == 4
    [told] = caplog.messages
    assert told.startswith(
        "no room for an upload on disk (No space left on device); uploads are refused until"
    )
