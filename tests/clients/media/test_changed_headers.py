"""A stream whose headers change on the way, as a live recording's do when the encoder is set up anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resonance.clients.media.types import Clip, Frames, SampledBy, SegmentInput
from tests.clients.media.synthetic import VIDEO_TAG, even_times, film, read_number

ReadAll = Callable[..., list[SegmentInput]]
Show = Callable[[SegmentInput], Frames]
RATE, GOP_S = 10, 2
_TAG_HEADER, _FILE_HEADER = 11, 9 + 4


def _film(seconds: float, size: tuple[int, int]) -> bytes:
    options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0"}
    return film(
        even_times(seconds, RATE), container="flv", gop=GOP_S * RATE, size=size, options=options, rate=RATE
    )


def _one_after_the_other(first: bytes, second: bytes, second_from_s: float) -> bytes:
    """One FLV file; the pictures of the second, and their headers before them, come from then on."""
    parts, at = [first], _FILE_HEADER
    while at + _TAG_HEADER <= len(second):
        size = int.from_bytes(second[at + 1 : at + 4], "big")
        tag = bytearray(second[at : at + _TAG_HEADER + size + 4])
        if tag[0] == VIDEO_TAG:
            stamp = (int.from_bytes(tag[4:7], "big") | tag[7] << 24) + round(second_from_s * 1000)
            tag[4:7], tag[7] = (stamp & 0xFFFFFF).to_bytes(3, "big"), stamp >> 24
            parts.append(bytes(tag))
        at += len(tag)
    return b"".join(parts)


def _numbers(frames: Frames) -> list[int]:
    return [read_number(p) for p in frames.pixels[frames.mask]]


def test_keyframes_are_decoded_by_the_headers_that_hold_for_them(read_all: ReadAll, show: Show) -> None:
    data = _one_after_the_other(_film(16, (160, 120)), _film(16, (128, 96)), 16)
    segments = read_all(data)
    assert [s.sampled_by for s in segments] == [SampledBy.KEYFRAMES] * 4
    per_window = [[0, 20, 40, 60], [80, 100, 120, 140]]
    assert [_numbers(show(s)) for s in segments] == per_window * 2
    sizes = [(c.width_px, c.height_px) for s in segments if isinstance(c := s.video, Clip)]
    assert sizes == [(160, 120)] * 2 + [(0, 0)] * 2  # what the container said holds for the first alone


def test_in_the_window_of_the_change_those_of_the_more_are_taken(read_all: ReadAll, show: Show) -> None:
    data = _one_after_the_other(_film(10, (160, 120)), _film(14, (128, 96)), 10)
    segments = read_all(data)
    assert [s.frame_times_s for s in segments] == [(0, 2, 4, 6), (10, 12, 14), (16, 18, 20, 22)]
    assert [_numbers(show(s)) for s in segments[1:]] == [[0, 20, 40], [60, 80, 100, 120]]


def test_the_first_headers_may_come_back(read_all: ReadAll, show: Show) -> None:
    large = _film(8, (160, 120))
    data = _one_after_the_other(_one_after_the_other(large, _film(8, (128, 96)), 8), large, 16)
    segments = read_all(data)
    assert [_numbers(show(s)) for s in segments] == [[0, 20, 40, 60]] * 3
    assert [s.video.width_px for s in segments if isinstance(s.video, Clip)] == [160, 0, 160]


@pytest.mark.parametrize("first_index", [0, 3])
def test_frames_decoded_in_order_come_past_the_change(
    read_all: ReadAll, show: Show, first_index: int
) -> None:
    data = _one_after_the_other(_film(16, (160, 120)), _film(16, (128, 96)), 16)
    segments = read_all(data, sampling="uniform", first_index=first_index)
    assert [s.index for s in segments] == list(range(first_index, 4))
    last = _numbers(show(segments[-1]))
    assert last == pytest.approx([82 + 5 * k for k in range(16)], abs=1)
