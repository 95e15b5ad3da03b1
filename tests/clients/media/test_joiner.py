"""Streams joined window by window: bad interleaving, gaps, stalls, early ends, bounded memory."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from resonance.clients.errors import MediaStalledError
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import Clip, Limits, SampledBy, SegmentInput
from tests.clients.media.synthetic import even_times, film, sound

ReadAll = Callable[..., list[SegmentInput]]


def _noise(seconds: float, rate_hz: int = 16_000) -> Any:
    return np.random.default_rng(2).normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32)


def _joined(video: bytes, audio: bytes, *, container: str, apart: bool) -> bytes:
    """Both streams in one file: by time, or `apart`, all sound after all pictures."""
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(video)) as seen,
        av.open(io.BytesIO(audio)) as heard,
        av.open(out, "w", format=container, options={"max_interleave_delta": "1"}) as file,
    ):
        made = [file.add_stream_from_template(f.streams[0]) for f in (seen, heard)]
        packets = []
        for source, stream in zip((seen, heard), made, strict=True):
            for packet in source.demux(source.streams[0]):
                if packet.size:
                    packet.dts = packet.pts
                    packets.append((float(packet.dts * packet.time_base), packet, stream))
        if not apart:
            packets.sort(key=lambda row: row[0])
        for _, packet, stream in packets:
            packet.stream = stream
            file.mux(packet)
    return out.getvalue()


def _film(times_s: list[float]) -> bytes:
    """Pictures in the order they are shown, a keyframe every 2 s."""
    plain = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0"}
    return film(times_s, container="matroska", rate=15, options=plain)


@pytest.fixture(scope="module")
def long_sound() -> bytes:
    """1,000 s of sound in 32 MB: far more than the readers' buffers."""
    return sound(_noise(1000), rate_hz=16_000)


@pytest.fixture(scope="module")
def parts() -> tuple[bytes, bytes]:
    """40 s of pictures, a keyframe every 2 s, and of sound."""
    video = _film(even_times(40, 15))
    return video, sound(_noise(40), rate_hz=16_000, codec="flac", container="matroska")


@pytest.mark.parametrize("apart", [False, True])
def test_interleaving_does_not_matter(read_all: ReadAll, parts: tuple[bytes, bytes], apart: bool) -> None:
    segments = read_all(_joined(*parts, container="matroska", apart=apart))
    alone = read_all(parts[0])
    assert [s.index for s in segments] == [0, 1, 2, 3, 4]
    for segment, pictures in zip(segments, alone, strict=True):
        assert isinstance(segment.video, Clip)
        assert isinstance(pictures.video, Clip)
        assert segment.video.packets == pictures.video.packets
        assert segment.pcm is not None
        assert segment.pcm.length == 128_000


def test_segments_come_while_the_rest_is_not_read_yet(
    open_title: Callable[..., MediaReader], long_sound: bytes
) -> None:
    class Counted(io.BytesIO):
        furthest = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.furthest = max(self.furthest, self.tell())
            return data

    source = Counted(long_sound)
    with open_title(source) as reader:
        segments = reader.segments()
        assert next(segments).index == 0
        time.sleep(0.3)
        assert source.furthest < len(long_sound) // 4
        assert [s.index for s in segments] == list(range(1, 125))


def test_streams_that_start_apart_share_a_clock(read_all: ReadAll) -> None:
    video = _film(even_times(20, 15, start_s=3.0))
    audio = sound(_noise(23), rate_hz=16_000, codec="flac", container="matroska")
    segments = read_all(_joined(video, audio, container="matroska", apart=False))
    assert segments[0].frame_times_s[0] == pytest.approx(3.0, abs=0.01)
    assert [s.index for s in segments] == [0, 1, 2]
    assert segments[0].pcm is not None


def test_a_tail_is_dropped_only_when_there_is_more(read_all: ReadAll) -> None:
    short = film(even_times(0.5, 30))
    assert [(s.index, s.end_s) for s in read_all(short)] == [(0, pytest.approx(0.5, abs=0.04))]
    assert [s.index for s in read_all(film(even_times(8.5, 30)))] == [0]
    assert [s.index for s in read_all(film(even_times(9.2, 30)))] == [0, 1]


def test_a_slide_show_keeps_its_sparse_windows(read_all: ReadAll) -> None:
    """A picture at 8.2 s that stands until the next one at 17 s is no tail."""
    data = film([0.0, 8.2, 17.0, 30.0], container="matroska", codec="mjpeg", pix_fmt="yuvj420p")
    assert [(s.index, s.end_s) for s in read_all(data)][:3] == [(0, 8.0), (1, 16.0), (2, 24.0)]


def test_pictures_without_sound_after_the_sound_ends(read_all: ReadAll) -> None:
    video = _film(even_times(30, 15))
    audio = sound(_noise(10), rate_hz=16_000, codec="flac", container="matroska")
    segments = read_all(_joined(video, audio, container="matroska", apart=False))
    assert [(s.video is not None, s.pcm is not None) for s in segments] == [(True, i < 2) for i in range(4)]


def _threads() -> list[str]:
    """Of readers; those of a server or client that other tests use go on."""
    return [t.name for t in threading.enumerate() if t.name.startswith(("resonance-read", "resonance-open"))]


def test_closing_early_ends_the_threads(
    open_title: Callable[..., MediaReader], parts: tuple[bytes, bytes]
) -> None:
    data = _joined(*parts, container="matroska", apart=False)
    for taken in (0, 1, 3):
        with open_title(data, sampling="uniform") as reader:
            segments = reader.segments()
            for _ in range(taken):
                next(segments)
        assert not _threads()


def test_closing_ends_who_waits_for_a_window(
    open_title: Callable[..., MediaReader], long_sound: bytes
) -> None:
    """A cancelled call leaves its thread there. It waited until the title had stalled, as did the program."""
    waiting = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if waiting.is_set():
                time.sleep(0.2)
            return super().read(size)

    with open_title(Slow(long_sound)) as reader:
        waiting.set()
        taking = threading.Thread(target=lambda: list(reader.segments()), daemon=True)
        taking.start()
        time.sleep(0.5)
    taking.join(2.0)
    assert not taking.is_alive()


def test_a_source_that_hangs_is_a_typed_error_and_closing_does_not_wait(
    open_title: Callable[..., MediaReader], long_sound: bytes
) -> None:
    released = threading.Event()

    class Hangs(io.BytesIO):
        opened = False

        def read(self, size: int | None = -1) -> bytes:
            if self.opened and self.tell() > len(self.getvalue()) // 2:
                released.wait(30)
            return super().read(size)

    source = Hangs(long_sound)
    started = time.monotonic()
    with open_title(source, limits=Limits(stall_timeout_s=1.0), name="film") as reader:
        source.opened = True
        with pytest.raises(MediaStalledError, match="film: no packet and no frame for 1 s"):
            list(reader.segments())
    assert time.monotonic() - started < 10
    released.set()


def test_a_slow_reader_is_not_a_stall(
    open_title: Callable[..., MediaReader], parts: tuple[bytes, bytes]
) -> None:
    with open_title(parts[0], limits=Limits(stall_timeout_s=0.5)) as reader:
        seen = 0
        for _ in reader.segments():
            time.sleep(0.7)
            seen += 1
    assert seen == 5


def test_a_source_that_fails_is_not_taken_for_its_end(
    open_title: Callable[..., MediaReader], long_sound: bytes
) -> None:
    from resonance.clients.errors import CorruptMediaError

    class Fails(io.BytesIO):
        failing = False

        def read(self, size: int | None = -1) -> bytes:
            if self.failing and self.tell() > len(self.getvalue()) // 2:
                raise OSError(5, "the disk is gone")
            return super().read(size)

    source = Fails(long_sound)
    with open_title(source, name="film") as reader:
        source.failing = True
        with pytest.raises(CorruptMediaError, match="the disk is gone"):
            list(reader.segments())


def _heavy(seconds: int) -> bytes:
    """A JPEG of noise, a megabyte, every second."""
    noise = np.random.default_rng(4).integers(0, 256, (900, 1200, 3), np.uint8)
    jpeg, out = io.BytesIO(), io.BytesIO()
    Image.fromarray(noise).save(jpeg, format="JPEG", quality=90)
    with av.open(out, "w", format="matroska") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 1200, 900, "yuvj420p"
        for number in range(seconds):
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1), True
            packet.pts = packet.dts = number
            file.mux(packet)
    return out.getvalue()


MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from resonance.clients.media.reader import open_media
from tests.clients.media.conftest import make_descriptor
space = make_descriptor()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_media(Path(sys.argv[1]), space, sampling=sys.argv[3]) as reader:
    list(reader.segments())
short = peak()
with open_media(Path(sys.argv[2]), space, sampling=sys.argv[3]) as reader:
    count = 0
    for segment in reader.segments():
        count += 1
print(count, (peak() - short) // 1024)
"""


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
def test_memory_does_not_grow_with_length(tmp_path: Path, sampling: str) -> None:
    """Keyframes of a megabyte each: five times the length, no more memory."""
    import subprocess
    import sys

    paths = []
    for seconds in (32, 160):
        audio = sound(_noise(seconds), rate_hz=16_000, codec="flac", container="matroska")
        path = tmp_path / f"{seconds}.mkv"
        path.write_bytes(_joined(_heavy(seconds), audio, container="matroska", apart=seconds == 160))
        paths.append(str(path))
    assert path.stat().st_size > 150 << 20
    script = MEASURE.format(folder=str(Path(__file__).parent))
    run = subprocess.run(
        [sys.executable, "-c", script, *paths, sampling],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    count, grown_mib = map(int, run.stdout.split())
    assert count == 20
    assert grown_mib < 40


def test_a_window_without_frames_has_no_picture_but_its_sound(read_all: ReadAll) -> None:
    times = [*even_times(8, 15), *even_times(8, 15, start_s=40.0)]
    video = _film(times)
    audio = sound(_noise(48), rate_hz=16_000, codec="flac", container="matroska")
    segments = read_all(_joined(video, audio, container="matroska", apart=False))
    assert [s.index for s in segments] == [0, 1, 2, 3, 4, 5]
    assert [s.sampled_by for s in segments if s.video is None] == [SampledBy.NONE] * 4
