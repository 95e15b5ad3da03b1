"""Descriptors seen so far are kept whole, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resonance.clients.explorer.remembered import remember, remembered
from tests.small_disk import disk_of
from tests.space.strategies import make_descriptor


def test_a_full_disk_leaves_what_was_kept_and_nothing_else(tmp_path: Path) -> None:
    kept = make_descriptor()
    other = make_descriptor(segment=replace(kept.segment, min_tail_s=2.0))
    remember(kept, tmp_path)
    with disk_of(256):
        remember(kept, tmp_path)
        remember(other, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [f"{kept.fingerprint}.json"]
    assert remembered(kept.fingerprint, tmp_path) == kept
    assert remembered(other.fingerprint, tmp_path) is None
