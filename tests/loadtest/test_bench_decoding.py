"""The bench of decoding against the ffmpeg command: both sides do the same work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resonance.loadtest.bench.ffmpeg_decoding import Wanted, measure_against_ffmpeg, run_ffmpeg
from resonance.loadtest.films import film, streamed
from resonance.space.descriptor import Descriptor


def test_both_sides_hand_on_the_same_pictures(model_repository: Path, tmp_path: Path) -> None:
    small = replace(streamed("h264", 180, minutes=1), loop_s=6)
    rows = measure_against_ffmpeg(
        model_repository, tmp_path, chosen=[(small, wanted) for wanted in Wanted], rounds=1
    )
    assert [row.wanted for row in rows] == list(Wanted)
    assert [row.ffmpeg_pictures for row in rows] == [30, 120, 1500]
    for row in rows:
        # the sound begins a moment before the pictures, so the last of them may fall into a window more
        assert row.ffmpeg_pictures <= row.pictures <= row.ffmpeg_pictures + 1
        assert 0 < row.start_up_share < 1
        # the same libraries' decoders on the same file: neither side can be much the faster
        assert 0.2 < row.speed < 5


def test_a_command_that_fails_says_so(model_repository: Path, tmp_path: Path) -> None:
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"empty\.mp4.* ended with"):
        run_ffmpeg(tmp_path / "empty.mp4", Wanted.ALL, descriptor.frames)
    whole = film(replace(streamed("h264", 180, minutes=1), loop_s=6), tmp_path)
    assert run_ffmpeg(whole, Wanted.KEYFRAMES, descriptor.frames)[1] == 30
    assert run_ffmpeg(whole, Wanted.KEYFRAMES, descriptor.frames, nothing=True)[1] == 0
