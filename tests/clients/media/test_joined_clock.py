"""Where files were put one after the other, what follows a restart of the clock is read as what follows."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from resonance.clients.media.joined_clock import LASTING_PACKETS, JoinedClock
from resonance.clients.media.types import Frames, SegmentInput
from tests.clients.media.synthetic import even_times, film, read_number, sound, with_edits

ReadAll = Callable[..., list[SegmentInput]]
Show = Callable[[SegmentInput], Frames]
RATE = 5
#: A keyframe every 2 s, and only at the start.
GOPS = (2 * RATE, 1000)


def _part(seconds: float, *, gop: int, start_s: float = 0.0) -> bytes:
    plain = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0"}
    times_s = even_times(seconds, RATE, start_s)
    return film(times_s, container="mpegts", rate=RATE, gop=gop, options=plain)


@pytest.mark.parametrize("gop", GOPS)
@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
@pytest.mark.parametrize("starts_s", [(0.0, 0.0), (1000.0, 0.0), (1000.0, 995.0)])
def test_pictures_of_a_later_part_follow(
    read_all: ReadAll, show: Show, gop: int, sampling: str, starts_s: tuple[float, float]
) -> None:
    """FFmpeg takes a fall from 1,000 s to 0 for a clock that ran over, and adds 26.5 hours."""
    data = b"".join(_part(20, gop=gop, start_s=start_s) for start_s in starts_s)
    segments = read_all(data, sampling=sampling)
    assert [s.index for s in segments] == [0, 1, 2, 3, 4]
    assert segments[-1].end_s == pytest.approx(40.0, abs=0.3)
    for segment in segments:
        frames = show(segment)
        assert frames.mask.any()
        for picture, time_s in zip(frames.pixels[frames.mask], segment.frame_times_s, strict=True):
            assert read_number(picture) == pytest.approx(time_s % 20 * RATE, abs=1.01)


def _shown_alone(start_s: float) -> bytes:
    """20 s of MPEG-2 in MPEG-TS whose muxer writes when each picture is shown and not when it is decoded."""
    output = io.BytesIO()
    pictures = film(even_times(20, 25), codec="mpeg2video", container="mpegts", rate=25, gop=25)
    with av.open(io.BytesIO(pictures)) as given, av.open(output, "w", format="mpegts") as file:
        stream: Any = file.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number, packet in enumerate(packet for packet in given.demux() if packet.size):
            packet.pts = packet.dts = round((start_s + number / 25) * 90_000)
            packet.stream = stream
            file.mux(packet)
    return output.getvalue()


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
def test_no_picture_of_a_later_part_stays_behind(read_all: ReadAll, sampling: str) -> None:
    """FFmpeg reckons when its first one is decoded from the pictures of the part before."""
    segments = read_all(_shown_alone(1000.0) + _shown_alone(0.0), sampling=sampling)
    assert [s.index for s in segments] == [0, 1, 2, 3, 4]
    assert segments[-1].end_s == pytest.approx(40.0, abs=0.3)


def test_sound_of_a_later_part_does_not_cover_the_first(read_all: ReadAll) -> None:
    loud, low = (
        sound(
            np.full(20 * 48_000, 1.0, np.float32) * np.sin(np.arange(20 * 48_000) * 0.05) * level,
            rate_hz=48_000,
            codec="libopus",
            container="ogg",
        )
        for level in (0.4, 0.1)
    )
    segments = read_all(loud + low)
    assert [s.index for s in segments] == [0, 1, 2, 3, 4]
    levels = [[float(np.abs(half).max()) for half in np.split(s.pcm.samples, 2)] for s in segments if s.pcm]
    del levels[2][1]  # at the seam the decoder swings in
    assert np.concatenate(levels) == pytest.approx([0.4] * 5 + [0.1] * 4, rel=0.2)


def _times_s(times_s: list[float]) -> tuple[list[float], int]:
    """What becomes of packets of 1 s at those times, and how often the clock began anew."""
    restarts: list[None] = []
    clock = JoinedClock(Fraction(1, 10), lambda: restarts.append(None))
    given = []
    for time_s in times_s:
        packet = av.Packet(b"1")
        packet.pts = packet.dts = round(time_s * 10)
        packet.duration = 10
        given += [(p.pts or 0) / 10 for p in clock.put(packet)]
    given += [(p.pts or 0) / 10 for p in clock.flush()]
    return given, len(restarts)


EVEN = [float(t) for t in range(20)]


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
@pytest.mark.parametrize("starts_s", [(0.0, 13.0), (8.0, 3.6), (4.0, 14.0, 9.0)])
def test_stretches_of_a_film_that_was_cut_follow(
    read_all: ReadAll, show: Show, sampling: str, starts_s: tuple[float, ...]
) -> None:
    """What stands before a stretch, from the keyframe that it needs, is stamped back from where it begins."""
    whole = film(even_times(24, RATE), rate=RATE, gop=5 * RATE, options={"bf": "0", "sc_threshold": "0"})
    segments = read_all(with_edits(whole, *((6.0, start_s) for start_s in starts_s)), sampling=sampling)
    assert [s.index for s in segments] == list(range(len(segments)))
    assert segments[-1].end_s == pytest.approx(6.0 * len(starts_s), abs=0.01)
    for segment in segments:
        frames = show(segment)
        assert frames.mask.any()
        for picture, time_s in zip(frames.pixels[frames.mask], segment.frame_times_s, strict=True):
            part, within_s = divmod(time_s + 0.01, 6.0)
            assert read_number(picture) == round((starts_s[int(part)] + within_s - 0.01) * RATE)


@pytest.mark.parametrize(
    "times_s",
    [
        EVEN,
        [*EVEN[:9], 0.0, *EVEN[9:]],
        [*EVEN[:9], 0.0, 1e6, 0.5, 7e5, *EVEN[9:]],
        [*EVEN[:9], 4000.0, *EVEN[9:]],
        [*EVEN[:9], 4000.0, 70.0, *EVEN[9:]],
        [*EVEN, 0.0],
        [*EVEN, *(t + 3600.0 for t in EVEN)],
        [0.0, 2.0, 1.0, 4.0, 3.0, *EVEN[5:]],
    ],
    ids=["even", "back", "several", "ahead", "ahead twice", "last", "a gap", "out of order"],
)
def test_single_packets_out_of_place_and_gaps_stay_as_they_are(times_s: list[float]) -> None:
    assert _times_s(times_s) == (times_s, 0)


def test_a_clock_may_begin_anew_again_and_again() -> None:
    part = [5.0 + t for t in range(10)]
    expected = [5.0 + t for t in range(44)]
    assert _times_s([*part, *part, *(t - 4 for t in part), *part, 5.0, 6.0, 7.0, 8.0]) == (expected, 4)


def test_a_restart_is_told_from_strays_by_its_length() -> None:
    assert _times_s([*EVEN, *EVEN[:LASTING_PACKETS], *EVEN[8:]])[1] == 1
    assert _times_s([*EVEN, *EVEN[: LASTING_PACKETS - 1], 20.0, 21.0])[1] == 0
