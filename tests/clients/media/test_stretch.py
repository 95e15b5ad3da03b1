"""Windows without a keyframe within reach: borrowed, or decoded in order and only once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from resonance.clients.media.clip import NoFramesError, decode_clip
from resonance.clients.media.packets import Title
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.source import MediaSource
from resonance.clients.media.stretch import StretchDecoder
from resonance.clients.media.types import Clip, Frames, Limits, ReadTimes, SampledBy, SegmentInput
from resonance.space.descriptor import Descriptor
from tests.clients.media.synthetic import VIDEO_TAG, even_times, film, read_number, with_flv_time

Open = Callable[..., MediaReader]
Show = Callable[[SegmentInput], Frames]
B_FRAMES = {"preset": "veryfast", "bf": "3", "sc_threshold": "0"}


def _sparse(seconds: float, gop_s: float, rate: int = 15, container: str = "matroska") -> bytes:
    gop = round(gop_s * rate)
    return film(
        even_times(seconds, rate),
        codec="libx264",
        container=container,
        gop=gop,
        rate=rate,
        options={**B_FRAMES, "keyint_min": str(gop)},
    )


def _numbers(frames: Frames) -> list[int]:
    return [read_number(p) for p in frames.pixels[frames.mask]]


def _decoded(reader: MediaReader) -> int:
    assert reader._video is not None
    return reader._video.packets_decoded


def test_a_title_with_one_keyframe_is_decoded_once(open_title: Open, show: Show) -> None:
    with open_title(_sparse(64, 300)) as reader:
        segments = list(reader.segments())
        decoded = _decoded(reader)
    assert [s.sampled_by for s in segments] == [SampledBy.KEYFRAMES, *[SampledBy.DECODED] * 7]
    assert decoded <= 64 * 15
    for segment in segments[1:]:
        assert segment.start_s is not None
        centres = segment.start_s + np.array([1, 3, 5, 7])
        assert [n / 15 for n in _numbers(show(segment))] == pytest.approx(centres, abs=0.51 / 15)


def test_a_keyframe_near_a_window_is_borrowed_and_others_are_decoded(open_title: Open, show: Show) -> None:
    with open_title(_sparse(80, 20)) as reader:
        segments = list(reader.segments())
        decoded = _decoded(reader)
    keyframes_s = [0, 20, 40, 60]
    for segment in segments:
        start_s = segment.start_s
        assert start_s is not None
        inside = [k for k in keyframes_s if start_s <= k < start_s + 8]
        near = [k for k in keyframes_s if start_s - 4 <= k <= start_s + 12]
        expected = SampledBy.KEYFRAMES if inside else SampledBy.BORROWED if near else SampledBy.DECODED
        assert segment.sampled_by == expected, start_s
    assert {s.sampled_by for s in segments} == {SampledBy.KEYFRAMES, SampledBy.BORROWED, SampledBy.DECODED}
    borrowed = segments[1]
    assert isinstance(borrowed.video, Clip)
    assert [p.time_s for p in borrowed.video.packets] == pytest.approx([12.0])  # from the window's start
    assert _numbers(show(borrowed)) == [20 * 15]
    assert decoded <= 80 * 15


def test_the_decoder_seeks_past_what_nobody_asked_for(open_title: Open, show: Show) -> None:
    with open_title(_sparse(240, 60)) as reader:
        segments = list(reader.segments())
        decoded = _decoded(reader)
    wanted = [s for s in segments if s.sampled_by == SampledBy.DECODED]
    assert len(wanted) > 20
    for segment in wanted:
        assert segment.start_s is not None
        centres = segment.start_s + np.array([1, 3, 5, 7])
        assert [n / 15 for n in _numbers(show(segment))] == pytest.approx(centres, abs=0.51 / 15)
    assert decoded <= 240 * 15


@pytest.mark.parametrize("container", ["mpegts", "flv"])
def test_no_window_is_without_its_picture_where_a_seek_leads_to_no_keyframe(
    open_title: Open, container: str
) -> None:
    """A seek in a transport stream leads anywhere between two keyframes, from where nothing decodes."""
    with open_title(_sparse(160, 30, 10, container)) as reader:
        segments = list(reader.segments())
        assert [s.index for s in segments] == list(range(20))
        assert all(s.video is not None for s in segments)
        again = {index: reader.decode_segment(segments[index]) for index in (17, 4)}
    for index, frames in again.items():
        assert frames is not None
        assert _numbers(frames) == [index * 80 + n for n in (10, 30, 50, 70)]


def _decoder(data: bytes, descriptor: Descriptor) -> StretchDecoder:
    limits = Limits()
    source = MediaSource(data, name="test", limits=limits)
    return StretchDecoder(Title(source, descriptor, limits, ReadTimes()), 0)


def test_consecutive_windows_share_no_packet_and_a_far_one_is_reached_by_a_seek(
    descriptor: Descriptor,
) -> None:
    decoder = _decoder(_sparse(120, 30), descriptor)
    counts = []
    for index in range(4):
        targets = tuple(index * 8.0 + t for t in (1.0, 3.0, 5.0, 7.0))
        frames = decoder.frames(targets, index * 8.0, index * 8.0 + 8.0)
        assert frames is not None
        counts.append(decoder.packets_decoded)
    assert all(120 <= b - a <= 126 for a, b in pairwise(counts[:3]))  # 8 s of 15 frames
    before = decoder.packets_decoded
    frames = decoder.frames((97.0,), 96.0, 104.0, keyframe_s=90.0)
    assert frames is not None
    assert _numbers(frames) == [97 * 15]
    assert decoder.packets_decoded - before <= 14 * 15 + 10  # from the keyframe at 90 to 104, not from 32
    frames = decoder.frames((17.0,), 16.0, 24.0)
    assert frames is not None
    assert _numbers(frames) == [17 * 15]  # and back
    decoder.close()


@pytest.mark.parametrize("parts", [4, 16])
def test_leaving_out_frames_nobody_needs_changes_nothing(descriptor: Descriptor, parts: int) -> None:
    data = _sparse(40, 300)
    plain, sparing = _decoder(data, descriptor), _decoder(data, descriptor)
    for index in range(5):
        targets = tuple(index * 8.0 + (k + 0.5) * 8.0 / parts for k in range(parts))
        known_s = {round(i / 15, 3) for i in range(index * 120, index * 120 + 120)}
        a = plain.frames(targets, index * 8.0, index * 8.0 + 8.0)
        b = sparing.frames(targets, index * 8.0, index * 8.0 + 8.0, known_s=known_s)
        assert a is not None
        assert b is not None
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.times_s, b.times_s)


def test_keyframes_that_decode_to_nothing_are_decoded_in_order(
    open_title: Open, descriptor: Descriptor
) -> None:
    """Intra refresh: the container marks recovery points as keyframes, but none is a whole picture."""
    data = film(
        even_times(60, 15),
        codec="libx264",
        container="matroska",
        rate=15,
        gop=30,
        options={"preset": "veryfast", "intra-refresh": "1", "bf": "0"},
    )
    rejected = 0
    with open_title(data) as reader:
        segments = list(reader.segments())
        for segment in (segments[i] for i in (0, 2, 1, 4, 3, 5, 6, 7)):  # answers come out of turn
            assert segment.start_s is not None
            if not isinstance(segment.video, Clip):
                continue
            try:
                shown = decode_clip(segment.video, descriptor.frames)
            except NoFramesError:
                rejected += 1
                again = reader.decode_segment(segment)
                assert again is not None
                shown = again
                centres = segment.start_s + np.array([1, 3, 5, 7])
                right = [c for c in centres if c < 60]
                assert [n / 15 for n in _numbers(again)] == pytest.approx(right, abs=0.51 / 15)
            for picture, time_s in zip(shown.pixels[shown.mask], shown.times_s[shown.mask], strict=True):
                assert read_number(picture) / 15 == pytest.approx(segment.start_s + time_s, abs=0.002)
        decoded = _decoded(reader)
    assert rejected >= 2, "the film has no intra refresh; the test shows nothing"
    assert decoded <= 2 * 60 * 15


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
def test_one_broken_timestamp_costs_one_frame(
    read_all: Callable[..., list[SegmentInput]], show: Show, sampling: str
) -> None:
    film_of_24_s = film(
        even_times(24, 15),
        container="flv",
        rate=15,
        gop=15,
        options={"preset": "ultrafast", "tune": "zerolatency"},
    )
    twenty_days_s = 20 * 86_400.0
    broken = with_flv_time(film_of_24_s, VIDEO_TAG, 100, twenty_days_s)
    whole, segments = (read_all(data, sampling=sampling) for data in (film_of_24_s, broken))
    assert [s.index for s in segments[:3]] == [0, 1, 2]
    assert len(segments) <= 4  # no window for every 8 s of 20 days
    for right, segment in zip(whole, segments, strict=False):
        assert segment.sampled_by == right.sampled_by
        missing = set(_numbers(show(right))) ^ set(_numbers(show(segment)))
        assert missing <= {99, 100, 101}
