"""Pictures that no container places: raw H.264 and HEVC are counted, those of AVI and ASF put in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resonance.clients.media.reader import SAMPLINGS
from resonance.clients.media.types import Frames, SegmentInput
from tests.clients.media.synthetic import even_times, film, read_number

ReadAll = Callable[..., list[SegmentInput]]
RATE = 10


def _bare(codec: str, gop: int) -> bytes:
    """20 s of H.264 with pictures out of order, or of HEVC."""
    options = {"preset": "ultrafast", "bf": "2", "b_strategy": "0", "sc_threshold": "0"}
    options["x264-params"] = f"force-cfr=1:fps={RATE}"
    if codec == "libx265":
        options = {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=0"}
    container = {"libx264": "h264", "libx265": "hevc"}[codec]
    return film(even_times(20, RATE), codec=codec, container=container, gop=gop, rate=RATE, options=options)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("gop", [20, 150])
def test_every_picture_stands_at_its_time(
    read_all: ReadAll, show: Callable[[SegmentInput], Frames], codec: str, gop: int, sampling: str
) -> None:
    segments = read_all(_bare(codec, gop), sampling=sampling)
    assert [(s.start_s, s.end_s) for s in segments] == [(0, 8), (8, 16), (16, pytest.approx(20))]
    for segment in segments:
        frames = show(segment)
        for picture, time_s in zip(frames.pixels[frames.mask], frames.times_s[frames.mask], strict=True):
            assert read_number(picture) == round((segment.start_s + time_s) * RATE)


def test_a_resumed_title_goes_on_where_it_was(read_all: ReadAll) -> None:
    data = _bare("libx264", 20)
    for sampling in SAMPLINGS:
        whole = read_all(data, sampling=sampling)
        resumed = read_all(data, sampling=sampling, first_index=1)
        assert [s.frame_times_s for s in resumed] == [s.frame_times_s for s in whole[1:]]


def test_a_stream_without_a_frame_rate_that_can_be_is_shown_at_25_a_second(read_all: ReadAll) -> None:
    data = film(even_times(20, RATE), container="h264", options={"preset": "ultrafast"})  # it states 1,000
    assert [(s.start_s, s.end_s) for s in read_all(data)] == [(0.0, 8.0)]


@pytest.mark.parametrize("container", ["avi", "asf"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("gop", [20, 1000])
def test_pictures_that_were_stamped_as_they_are_decoded_are_shown_in_order(
    read_all: ReadAll, show: Callable[[SegmentInput], Frames], container: str, gop: int, sampling: str
) -> None:
    options = {"preset": "ultrafast", "bf": "3", "b_strategy": "0", "sc_threshold": "0"}
    data = film(even_times(20, RATE), container=container, gop=gop, rate=RATE, options=options)
    for segment in read_all(data, sampling=sampling):
        frames = show(segment)
        numbers = [read_number(picture) for picture in frames.pixels[frames.mask]]
        assert list(segment.frame_times_s) == pytest.approx([n / RATE for n in numbers], abs=0.001)
    assert segment.end_s == pytest.approx(20, abs=0.11)
