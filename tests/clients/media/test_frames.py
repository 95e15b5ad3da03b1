"""Every frame sent is the frame of its presentation time, whatever the codec and container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import av
import numpy as np
import pytest

from resonance.clients.media.clip import clip_from_bytes, clip_to_bytes
from resonance.clients.media.types import Clip, Frames, SampledBy, SegmentInput
from tests.clients.media.synthetic import even_times, film, read_number

#: Containers keep times in milliseconds at worst; a frame lasts 33.
TIME_TOLERANCE_S = 0.002


@dataclass(frozen=True)
class Case:
    """One way of writing a film."""

    name: str
    codec: str
    container: str
    gop: int = 30
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    times_s: tuple[float, ...] = tuple(even_times(18))
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (128, 96)
    rate: int = 30


def _uneven() -> tuple[float, ...]:
    """A phone's clock: 8 to 60 ms between frames, a pause of 3 s."""
    rng = np.random.default_rng(7)
    times_s = np.cumsum(rng.uniform(0.008, 0.06, 500)).round(3)
    times_s[200:] += 3.0
    return tuple(float(t) for t in times_s)


PAL = (720, 576)
X264 = {"preset": "ultrafast", "tune": "zerolatency"}
B_FRAMES = {"preset": "veryfast", "bf": "3", "b-pyramid": "strict"}
CASES = [
    Case("h264 mp4", "libx264", "mp4", options=X264),
    Case("h264 B-frames mkv", "libx264", "matroska", options=B_FRAMES),
    Case("h264 open GOP", "libx264", "mp4", gop=45,
         options={**B_FRAMES, "x264-params": "open-gop=1:keyint=45"}),
    Case("h264 open GOP ts", "libx264", "mpegts", options={**B_FRAMES, "x264-params": "open-gop=1"}),
    Case("h264 ts annex B", "libx264", "mpegts", options=B_FRAMES),
    Case("h264 flv", "libx264", "flv", options=B_FRAMES),
    Case("h264 10 bit", "libx264", "matroska", options=X264, pix_fmt="yuv420p10le"),
    Case("h264 fragmented", "libx264", "mp4", options=B_FRAMES,
         container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    Case("h264 uneven", "libx264", "matroska", options=B_FRAMES, times_s=_uneven()),
    Case("h264 starts at 5 s", "libx264", "matroska", options=B_FRAMES,
         times_s=tuple(even_times(18, 30, 5.0))),
    Case("hevc", "libx265", "mp4", options={"preset": "ultrafast", "x265-params": "log-level=none"}),
    Case("hevc open GOP", "libx265", "matroska",
         options={"preset": "veryfast", "x265-params": "log-level=none:open-gop=1:bframes=3"}),
    Case("vp9", "libvpx-vp9", "webm", options={"deadline": "realtime", "cpu-used": "8"}),
    Case("vp9 with hidden frames", "libvpx-vp9", "webm", gop=60,
         options={"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    Case("vp8", "libvpx", "webm", options={"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}),
    Case("av1", "libsvtav1", "matroska", options={"preset": "10", "crf": "12"}),
    Case("mpeg4 avi", "mpeg4", "avi", options={"b": "2M"}),
    Case("mpeg4 B-frames mp4", "mpeg4", "mp4", options={"bf": "2", "b": "2M"}),
    Case("mpeg2 ts", "mpeg2video", "mpegts", options={"bf": "2", "b": "4M"}),
    Case("mjpeg avi", "mjpeg", "avi", pix_fmt="yuvj420p"),
    Case("dv avi", "dvvideo", "avi", size=PAL, rate=25, times_s=tuple(even_times(2, 25))),
    Case("dv", "dvvideo", "dv", size=PAL, rate=25, times_s=tuple(even_times(2, 25))),
    Case("png mov", "png", "mov", pix_fmt="rgb24"),
]  # fmt: skip

Show = Callable[[SegmentInput], Frames]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def written(request: pytest.FixtureRequest) -> tuple[Case, bytes]:
    """A case and its film."""
    case: Case = request.param
    if not _encodes(case.codec):
        pytest.skip(f"this build of FFmpeg has no {case.codec}")
    return case, film(
        case.times_s,
        codec=case.codec,
        container=case.container,
        gop=case.gop,
        options=case.options,
        container_options=case.container_options,
        pix_fmt=case.pix_fmt,
        size=case.size,
        rate=case.rate,
    )


def _encodes(codec: str) -> bool:
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _right(times_s: np.ndarray, frames: Frames, segment: SegmentInput) -> None:
    """Each frame shows the number that was written at its time; times count from the film's first frame."""
    assert segment.start_s is not None
    for picture, time_s, there in zip(frames.pixels, frames.times_s, frames.mask, strict=True):
        if there:
            number = read_number(picture)
            assert times_s[number] == pytest.approx(segment.start_s + time_s, abs=TIME_TOLERANCE_S)


def test_keyframes_are_the_frames_of_their_times(
    written: tuple[Case, bytes], read_all: Callable[..., list[SegmentInput]], show: Show
) -> None:
    case, data = written
    times_s = np.array(case.times_s) - case.times_s[0]
    segments = read_all(data)
    assert len(segments) == np.ceil(times_s[-1] / 8.0)
    assert all(s.sampled_by == SampledBy.KEYFRAMES for s in segments)
    for segment in segments:
        assert isinstance(segment.video, Clip)
        sent = clip_from_bytes(clip_to_bytes(segment.video))
        assert sent == segment.video
        frames = show(segment)
        assert frames.mask.sum() == len(segment.video.packets)  # a keyframe alone is a whole frame
        _right(times_s, frames, segment)
        assert np.allclose(segment.frame_times_s, segment.start_s + frames.times_s[frames.mask], atol=1e-4)


def test_uniform_frames_are_the_nearest_to_the_grid(
    written: tuple[Case, bytes], read_all: Callable[..., list[SegmentInput]], show: Show
) -> None:
    case, data = written
    times_s = np.array(case.times_s) - case.times_s[0]
    for segment in read_all(data, sampling="uniform"):
        assert segment.start_s is not None
        inside = (times_s >= segment.start_s - 1e-3) & (times_s < segment.start_s + 8.0 - 1e-3)
        numbers = np.flatnonzero(inside)
        grid_s = segment.start_s + 0.25 + 0.5 * np.arange(16)
        distance_s = np.abs(times_s[numbers][None] - grid_s[:, None])  # (grid, frames)
        frames = show(segment)
        _right(times_s, frames, segment)
        got = [read_number(p) for p in frames.pixels[frames.mask]]
        assert got == sorted(set(got))
        for row in distance_s:  # one of the frames sent is as near as any to the grid's time
            assert min(row[np.searchsorted(numbers, got)]) <= row.min() + TIME_TOLERANCE_S
        assert segment.sampled_by == SampledBy.UNIFORM


def test_keyframes_chosen_lie_nearest_to_the_centres(
    read_all: Callable[..., list[SegmentInput]], show: Show
) -> None:
    data = film(even_times(16), codec="mjpeg", container="avi", pix_fmt="yuvj420p")  # every frame is one
    for segment in read_all(data):
        assert isinstance(segment.video, Clip)
        assert [p.time_s for p in segment.video.packets] == pytest.approx([1, 3, 5, 7], abs=0.02)
        assert segment.video.frame_bucket == 4


#: 8.001 - 0.001 is less than 8 in floats, and 16.002 - 0.002 less than 16.
@pytest.mark.parametrize("start_s", [0.001, 0.002])
def test_a_keyframe_on_the_edge_of_two_windows_is_the_first_picture_of_the_second(
    read_all: Callable[..., list[SegmentInput]], show: Show, start_s: float
) -> None:
    options = {**X264, "sc_threshold": "0"}
    data = film(even_times(24, 10, start_s), container="matroska", gop=80, options=options, rate=10)
    segments = read_all(data)
    assert [s.frame_times_s for s in segments] == [(0.0,), (8.0,), (16.0,)]
    assert [read_number(show(s).pixels[0]) for s in segments] == [0, 80, 160]


@pytest.mark.parametrize("start_s", [0.001, 0.002])
def test_so_it_is_where_frames_are_decoded_in_order(
    read_all: Callable[..., list[SegmentInput]], show: Show, start_s: float
) -> None:
    times_s = even_times(24, 0.5, start_s)  # fewer than there are places for
    data = film(times_s, container="matroska", gop=300, options=X264, rate=10)
    segments = read_all(data, sampling="uniform")
    assert [s.frame_times_s for s in segments] == [(0, 2, 4, 6), (8, 10, 12, 14), (16, 18, 20, 22)]
    shown = [show(s) for s in segments]
    assert [[read_number(p) for p in f.pixels[f.mask]] for f in shown] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
