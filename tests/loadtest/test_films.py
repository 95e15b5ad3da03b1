"""Films of the bench: what they say they are, repeated without a seam, and as costly to decode each time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import pytest

from resonance.loadtest.films import FPS, LOOP_S, Film, film, loop, streamed

SHORT_S = 4


def short(codec: str, *, minutes: int = 1, grain: float = 4.0) -> Film:
    small = replace(streamed(codec, 720, minutes=minutes), width=160, height=90, bit_rate=150_000)
    return replace(small, name=f"{codec}_short_{grain:g}", loop_s=SHORT_S, grain=grain)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_a_film_has_every_picture_once_and_keyframes_where_it_says(codec: str, tmp_path: Path) -> None:
    path = film(short(codec), tmp_path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        assert stream.codec_context.codec.canonical_name == codec
    shown = sorted(round(time_s(p) * FPS) for p in packets)
    assert shown == list(range(shown[0], shown[0] + 60 * FPS))
    keyframes = sorted(time_s(p) for p in packets if p.is_keyframe)
    assert len(keyframes) == 60 / 2
    assert all(b - a == pytest.approx(2.0, abs=0.05) for a, b in pairwise(keyframes))
    assert len(decoded(path)) == 60 * FPS


def test_a_repeated_film_decodes_to_the_pictures_of_its_loop(tmp_path: Path) -> None:
    spec = short("h264")
    once, whole = decoded(loop(spec, tmp_path)), decoded(film(spec, tmp_path))
    assert whole == once * (60 // SHORT_S)
    assert len(set(once)) == len(once)  # nothing stands still


def test_grain_leaves_something_to_encode_between_keyframes(tmp_path: Path) -> None:
    free = replace(short("h264"), width=640, height=360, bit_rate=0, loop_s=2)
    bare, grainy = (loop(replace(free, grain=grain), tmp_path) for grain in (0.0, 4.0))
    assert bytes_between_keyframes(grainy) > 2 * bytes_between_keyframes(bare)


def test_films_that_stream_have_a_bit_rate_each() -> None:
    assert streamed("h264", 240).width == 426
    assert streamed("h264", 1080).width == 1920
    assert streamed("av1", keyframe_every_s=None).name.endswith(f"key{LOOP_S}s_streamed")
    with pytest.raises(KeyError):
        streamed("vp9", 2160)


def time_s(packet: av.Packet) -> float:
    """When it is shown."""
    assert packet.pts is not None
    assert packet.time_base is not None
    return float(packet.pts * packet.time_base)


def decoded(path: Path) -> list[int]:
    """A hash of each picture in order."""
    with av.open(str(path)) as container:
        return [hash(frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


def bytes_between_keyframes(path: Path) -> int:
    """Of all pictures that are no keyframes."""
    with av.open(str(path)) as container:
        return sum(p.size for p in container.demux(video=0) if not p.is_keyframe)
