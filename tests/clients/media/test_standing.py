"""Slides, and a still over sound: windows without a packet have the picture that stands in them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.standing import MOST_STANDING_S, StandingPictures
from resonance.clients.media.types import Frames, SampledBy, SegmentInput
from resonance.clients.media.video import VideoWindow
from tests.clients.media.same import assert_same
from tests.clients.media.synthetic import even_times, film, read_number, sound
from tests.clients.media.test_joiner import _joined as joined

Open = Callable[..., MediaReader]
ReadAll = Callable[..., list[SegmentInput]]
Show = Callable[[SegmentInput], Frames]
#: Matroska's element of the length in milliseconds, a float of 8 bytes (RFC 9559, 5.1.2).
DURATION = b"\x44\x89\x88"
SLIDES_S = [0.0, 20.0, 45.0, 60.0]
#: Which slide is last shown in each window of 8 s.
SHOWN = [0, 0, 1, 1, 1, 2, 2, 3]


def _numbers(segments: list[SegmentInput], show: Show) -> list[int]:
    numbers = []
    for segment in segments:
        frames = show(segment)
        numbers.append(read_number(frames.pixels[frames.mask][-1]))
        assert len(segment.frame_times_s) == frames.mask.sum()
    return numbers


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
@pytest.mark.parametrize("gop", [1, 1000])
def test_slides_stand_until_the_next(
    read_all: ReadAll, show: Show, sampling: str, container: str, gop: int
) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0"}
    data = film(SLIDES_S, container=container, gop=gop, options=options)
    segments = read_all(data, sampling=sampling)
    assert [s.index for s in segments[:7]] == list(range(7))  # the last slide is too short where none follows
    assert _numbers(segments, show) == SHOWN[: len(segments)]
    assert [s.index for s in segments if s.sampled_by == SampledBy.BORROWED] == [1, 3, 4, 6]
    assert [s.frame_times_s[0] for s in segments[:7]] == pytest.approx([0, 0, 20, 20, 20, 45, 45], abs=0.01)


def test_slides_of_a_clock_that_starts_late_stand_no_longer(open_title: Open, show: Show) -> None:
    """A Matroska states where its clock ends, and that is not how long it is."""
    noise = np.random.default_rng(3).normal(0, 0.1, 60 * 8_000).astype(np.float32)
    heard = sound(noise, rate_hz=8_000, container="matroska", gaps={0: 100.0})
    slides = film([100.0 + time_s for time_s in SLIDES_S[:3]], container="matroska", gop=1)
    with open_title(joined(slides, heard, container="matroska", apart=False)) as reader:
        assert reader.info.duration_s == pytest.approx(60.0, abs=0.1)
        segments = list(reader.segments())
    assert _numbers(segments, show) == [*SHOWN[:7], 2]
    assert segments[-1].end_s == pytest.approx(60.0, abs=0.1)


def test_slides_stand_to_the_end_where_a_length_counts_from_the_first_packet(
    open_title: Open, show: Show
) -> None:
    """As writers other than FFmpeg have it; of two thirds of the windows the picture would be missing."""
    noise = np.random.default_rng(3).normal(0, 0.1, 120 * 8_000).astype(np.float32)
    heard = sound(noise, rate_hz=8_000, container="matroska", gaps={0: 80.0})
    slides = film([80.0 + time_s for time_s in SLIDES_S[:3]], container="matroska", gop=1)
    data = joined(slides, heard, container="matroska", apart=False).replace(b"Lavf", b"Else")
    at = data.index(DURATION) + len(DURATION)
    (told_ms,) = struct.unpack(">d", data[at : at + 8])
    assert told_ms == pytest.approx(200_000, abs=100)
    data = data[:at] + struct.pack(">d", told_ms - 80_000) + data[at + 8 :]
    with open_title(data) as reader:
        assert reader.info.duration_s == pytest.approx(120.0, abs=0.1)
        assert _numbers(list(reader.segments()), show) == [*SHOWN[:7], *[2] * 8]


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
def test_the_last_picture_stands_though_it_is_no_keyframe(
    read_all: ReadAll, show: Show, sampling: str
) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0"}
    data = film([0.0, 5.0, 30.0, 38.0], gop=2, options=options)  # keyframes at 0 s and at 30 s
    segments = read_all(data, sampling=sampling)
    assert [s.frame_times_s[-1] for s in segments[1:3]] == [5.0, 5.0]
    assert _numbers(segments, show)[1:3] == [1, 1]


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_a_still_stands_as_long_as_the_title(read_all: ReadAll, show: Show, container: str) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, 42 * 48_000).astype(np.float32)
    heard = sound(noise, rate_hz=48_000, codec="aac", container="matroska")
    segments = read_all(joined(film([0.0], container="matroska"), heard, container=container, apart=False))
    assert [s.index for s in segments] == [0, 1, 2, 3, 4, 5]
    assert _numbers(segments, show) == [0] * 6
    assert [s.sampled_by for s in segments[1:]] == [SampledBy.BORROWED] * 5
    assert all(s.pcm is not None for s in segments)
    assert segments[-1].end_s == pytest.approx(42.0, abs=0.1)


@pytest.mark.parametrize("gap_s", [0.0, 20.0])
def test_a_still_stands_as_far_as_sound_comes_where_no_end_is_told(
    open_title: Open, read_all: ReadAll, gap_s: float
) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, 18 * 48_000).astype(np.float32)
    heard = sound(noise, rate_hz=48_000, codec="aac", container="matroska", gaps={300: gap_s})
    data = joined(film([0.0], container="matroska"), heard, container="mpegts", apart=False)
    source = GrowingSource("upload", lambda offset, size: data[offset : offset + size])
    source.add(0, len(data))
    source.end(len(data))
    with open_title(source) as reader:
        segments = list(reader.segments())
        assert reader.info.duration_s is None
    assert [len(s.frame_times_s) for s in segments] == [1] * (3 if gap_s == 0 else 5)
    told = read_all(data)  # where the container says it, its end is a little off that of the sound
    assert [s.end_s for s in segments] == pytest.approx([s.end_s for s in told], abs=0.1)
    assert_same([replace(a, end_s=b.end_s) for a, b in zip(segments, told, strict=True)], told)


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
def test_what_stands_is_the_same_where_a_title_is_resumed(
    open_title: Open, read_all: ReadAll, sampling: str
) -> None:
    data = film([*even_times(1, 5), *(s + 20 for s in SLIDES_S)], gop=1000)
    whole = read_all(data, sampling=sampling)
    for first in range(1, len(whole)):
        with open_title(data, sampling=sampling, first_index=first) as reader:
            assert_same(list(reader.segments()), whole[first:])


def _filled(
    packets_s: list[tuple[float, float | None]], title_end_s: float | None, *, gapless: bool = False
) -> list[tuple[int, float]]:
    """(window, when its picture was shown first) of windows of 8 s with such packets, (time, duration)."""
    standing = StandingPictures(8.0, title_end_s, gapless=gapless)

    def windows() -> Iterator[tuple[int, VideoWindow]]:
        for time_s, duration_s in packets_s:
            standing.saw(time_s, duration_s)
        for index in sorted({int(time_s // 8) for time_s, _ in packets_s}):
            last_s = max(time_s for time_s, _ in packets_s if time_s // 8 == index)
            pixels = np.zeros((4, 2, 2, 3), np.uint8)
            frames = Frames(pixels, np.array([True, False, False, False]), np.zeros(4, np.float32))
            yield index, VideoWindow(frames, SampledBy.UNIFORM, (last_s,), None, None, last_s)

    return [
        (index, window.frame_times_s[0])
        for index, window in standing.filled(windows, lambda index, keyframe_s: None)
    ]


PLAYED = [(t / 5, 0.2) for t in range(40)]


def test_how_long_a_picture_stands() -> None:
    alone = [(0, 7.8)]
    stands = [*alone, (1, 7.8), (2, 7.8)]
    assert _filled(PLAYED, 30.0) == alone  # pictures that moved end with the last one
    assert _filled([*PLAYED, (40.0, 0.2)], 41.0) == [*alone, (5, 40.0)]
    assert _filled([*PLAYED, (24.0, 0.2)], 41.0, gapless=True) == [*stands, (3, 24.0)]
    assert _filled(PLAYED, 30.0, gapless=True) == alone
    assert _filled([*PLAYED[:-1], (7.8, 12.0)], 30.0) == stands
    assert _filled([*PLAYED[:-1], (7.8, 12.0)], None) == stands
    assert _filled([*PLAYED[:-1], (7.8, None)], 20.0) == stands
    assert _filled([*PLAYED[:-1], (7.8, None)], None) == alone  # nobody says until when
    assert _filled([*PLAYED[:-1], (7.8, None), (24.0, None)], None) == [*stands, (3, 24.0)]


def test_a_broken_time_makes_no_endless_title() -> None:
    assert len(_filled([(0.0, 1e9)], 1e9)) == 1 + MOST_STANDING_S / 8
