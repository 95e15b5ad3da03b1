"""Paths of which the system will say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.clients.errors import UsageError
from resonance.clients.new_files import check_new_file
from resonance.clients.paths import is_file, is_folder


@pytest.mark.parametrize("name", ["x" * 300, "zero\0byte", "gone"])
def test_what_cannot_be_looked_at_is_not_there(name: str, tmp_path: Path) -> None:
    assert not is_file(tmp_path / name)
    assert not is_folder(tmp_path / name)


def test_no_file_can_have_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--html .*xxx: no file can be there \(File name too long\)"):
        check_new_file(tmp_path / ("x" * 300), "--html")
