"""A container is looked at in full once, and opened for less then: segments are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from resonance.clients.errors import MediaError
from resonance.clients.media import probe
from resonance.clients.media.reader import open_media
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Clip, Frames, Limits, SegmentInput
from resonance.loadtest.films import loop, streamed
from resonance.space.descriptor import Descriptor


@pytest.fixture(scope="module")
def descriptor(model_repository: Path) -> Descriptor:
    return Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")


def segments(path: Path, descriptor: Descriptor) -> list[SegmentInput] | None:
    """None where the file is refused."""
    try:
        with open_media(path, descriptor) as reader:
            return list(reader.segments())
    except MediaError:
        return None


def same(a: SegmentInput, b: SegmentInput) -> bool:
    plain = [replace(one, video=None, pcm=None) for one in (a, b)]
    if plain[0] != plain[1] or (a.pcm is None) != (b.pcm is None) or type(a.video) is not type(b.video):
        return False
    if a.pcm is not None and b.pcm is not None and not np.array_equal(a.pcm.samples, b.pcm.samples):
        return False
    if isinstance(a.video, Clip):
        return a.video == b.video
    if isinstance(a.video, Frames) and isinstance(b.video, Frames):
        return np.array_equal(a.video.pixels, b.video.pixels)
    return a.video is b.video


def test_segments_are_those_of_a_full_look_each_time(
    media: Path, descriptor: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffixes = (".mp4", ".m4v", ".mov", ".3gp", ".m4a")
    paths = [p for p in sorted(media.rglob("*")) if p.suffix in suffixes and p.stat().st_size < 3_000_000]
    assert len(paths) >= 5
    quick = [segments(path, descriptor) for path in paths]
    assert sum(found is not None for found in quick) >= 5
    monkeypatch.setattr(probe, "STATING", "no such container")
    for path, found in zip(paths, quick, strict=True):
        full = segments(path, descriptor)
        assert (found is None) == (full is None), path
        assert len(found or ()) == len(full or ()), path
        assert all(same(a, b) for a, b in zip(found or (), full or (), strict=True)), path


def test_pictures_are_decoded_for_the_first_look_alone(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = loop(replace(streamed("h264", 240), loop_s=8), tmp_path)
    whitelists: list[str | None] = []
    really_open = av.open

    def opened(*arguments: object, **named: object) -> object:
        options = named.get("options")
        whitelists.append(options.get("codec_whitelist") if isinstance(options, dict) else None)
        return really_open(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(av, "open", opened)
    assert len(segments(path, descriptor) or ()) == 1
    assert whitelists == [None, "aac", "aac"]
    known = probe.probe(MediaSource(path, name=None, limits=Limits()), Limits()).known
    assert known is not None
    assert known.video is not None
    assert (known.video.pixel_format, known.video.rate) == ("yuv420p", 25.0)
