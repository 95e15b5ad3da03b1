"""Media that is still arriving: segments come while bytes do, and are those of the whole file."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from resonance.clients.errors import MediaError, MediaStalledError
from resonance.clients.media import growing
from resonance.clients.media.growing import ForgottenBytesError, GrowingSource
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import Limits, SegmentInput
from tests.clients.media.same import assert_same
from tests.clients.media.synthetic import even_times, film, sound

Open = Callable[..., MediaReader]
ReadAll = Callable[..., list[SegmentInput]]
FAST = {"preset": "ultrafast", "sc_threshold": "0"}


class Upload:
    """Bytes sent only while a reader waits for some: what is sent is what was needed."""

    def __init__(self, data: bytes, *, chunk: int, size_known: bool, ranges: list[tuple[int, int]]) -> None:
        self.sent = 0
        self._data, self._chunk, self._ranges = data, chunk, ranges
        self._news, self._over = threading.Event(), threading.Event()
        self.source = GrowingSource(
            "film",
            lambda offset, size: data[offset : offset + size],
            size_bytes=len(data) if size_known else None,
            changed=self._news.set,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for start, length in self._ranges:
            for offset in range(start, start + length, self._chunk):
                while not self.source.positions()[1] and not self._over.is_set():
                    self._news.wait(0.05)
                    self._news.clear()
                size = min(self._chunk, start + length - offset)
                self.source.add(offset, size)
                self.sent += size
                time.sleep(0.001)  # lets what was waited for be read before more is sent
        self.source.end(len(self._data))

    def close(self) -> None:
        """Send the rest and be done."""
        self._over.set()
        self._thread.join(10)


def _grown(
    open_title: Open,
    data: bytes,
    *,
    chunk: int = 16_384,
    size_known: bool = False,
    ranges: list[tuple[int, int]] | None = None,
    **options: object,
) -> tuple[list[SegmentInput], float]:
    """The segments, and the share of the file that was sent when the first of them came."""
    upload = Upload(data, chunk=chunk, size_known=size_known, ranges=ranges or [(0, len(data))])
    try:
        with open_title(upload.source, **options) as reader:
            segments, first = [], 1.0
            for segment in reader.segments():
                first = first if segments else upload.sent / len(data)
                segments.append(segment)
        return segments, first
    finally:
        upload.close()


def _noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)


def _pictures(container: str, codec: str) -> bytes:
    """80 s of pictures."""
    options = FAST if codec == "libx264" else {}
    size = (160, 120)
    extra = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if container == "mp4" else {}
    return film(
        even_times(80, 10), codec=codec, container=container, options=options, size=size, gop=20, rate=10,
        container_options=extra, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
    )  # fmt: skip


PICTURES = [
    ("mp4", "libx264"),  # fragmented
    ("matroska", "libx264"),
    ("webm", "libvpx"),
    ("mpegts", "mpeg2video"),
    ("flv", "flv"),
    ("avi", "mpeg4"),
    ("avi", "mjpeg"),
]
SOUNDS = [
    ("wav", "pcm_s16le"),
    ("mp3", "libmp3lame"),
    ("flac", "flac"),
    ("ogg", "libopus"),
    ("adts", "aac"),
]


@pytest.fixture(autouse=True)
def _small_files_count_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is near in a file of gigabytes is all of a test's file."""
    monkeypatch.setattr(growing, "NEAR_BYTES", 1 << 14)


@pytest.mark.parametrize("size_known", [False, True])
@pytest.mark.parametrize(("container", "codec"), PICTURES)
def test_pictures_come_long_before_the_last_byte(
    open_title: Open, read_all: ReadAll, container: str, codec: str, size_known: bool
) -> None:
    data = _pictures(container, codec)
    segments, first = _grown(open_title, data, size_known=size_known, chunk=max(len(data) // 200, 1))
    # a window of 8 s is complete 4 s later; of 80 s that is 15%, and more where the head is read ahead
    assert first < 0.35
    assert_same(segments, read_all(data))


@pytest.mark.parametrize(("container", "codec"), SOUNDS)
def test_sound_comes_long_before_the_last_byte(
    open_title: Open, read_all: ReadAll, container: str, codec: str
) -> None:
    rate_hz = 48_000 if codec == "libopus" else 16_000
    data = sound(np.tile(_noise(40), 6), rate_hz=rate_hz, codec=codec, container=container)
    segments, first = _grown(open_title, data, size_known=True, chunk=len(data) // 200)
    assert first < 0.5
    assert_same(segments, read_all(data))


def _boxes(data: bytes) -> dict[str, tuple[int, int]]:
    found, at = {}, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8].decode()] = (at, size)
        at += size
    return found


def test_an_index_at_the_end_can_come_first(open_title: Open, read_all: ReadAll) -> None:
    data = film(even_times(80, 10), rate=10, gop=20, options=FAST, size=(160, 120))
    (mdat, size), (moov, moov_size) = (_boxes(data)[name] for name in ("mdat", "moov"))
    assert mdat + size == moov
    order = [(0, mdat + 16), (moov, moov_size), (mdat + 16, size - 16)]
    expected = read_all(data)
    segments, first = _grown(open_title, data, size_known=True, ranges=order)
    assert first < 0.35
    assert_same(segments, expected)
    segments, first = _grown(open_title, data)  # in file order it waits, and gives the same
    assert first == 1.0
    assert_same(segments, expected)


def test_an_mxf_with_reordered_pictures_waits_for_its_index(open_title: Open, read_all: ReadAll) -> None:
    reordered = {"bf": "2"}
    data = film(even_times(20, 25), codec="mpeg2video", container="mxf", rate=25, gop=12, options=reordered)
    segments, first = _grown(open_title, data, chunk=max(len(data) // 50, 1))
    assert first == 1.0
    assert_same(segments, read_all(data))


def test_sound_beside_jpeg_2000_does_not_wait_for_the_index(open_title: Open, read_all: ReadAll) -> None:
    data = _mxf_with_sound()
    segments, first = _grown(open_title, data, size_known=True, chunk=len(data) // 100)
    assert first < 0.7
    assert_same(segments, read_all(data))


def _mxf_with_sound() -> bytes:
    """40 s of sound beside pictures in a codec of keyframes alone, which is not read here."""
    output = io.BytesIO()
    with av.open(output, "w", format="mxf") as file:
        pictures: Any = file.add_stream("jpeg2000", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv422p"
        track: Any = file.add_stream("pcm_s16le", rate=48_000, layout="mono")
        grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), format="rgb24")
        samples = (np.random.default_rng(5).normal(0, 3_000, (1, 1_920))).astype(np.int16)
        for number in range(40 * 25):
            grey.pts = number
            file.mux(pictures.encode(grey))
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.sample_rate, piece.pts = 48_000, number * 1_920
            file.mux(track.encode(piece))
        for stream in (pictures, track):
            file.mux(stream.encode())
    return output.getvalue()


@pytest.mark.parametrize("size_known", [False, True])
@pytest.mark.parametrize(("container", "codec"), [("adts", "aac"), ("wv", "wavpack")])
def test_an_upload_that_is_whole_has_no_damage(
    open_title: Open, read_all: ReadAll, container: str, codec: str, size_known: bool
) -> None:
    """WavPack has tags at its end, and a short AAC was read beyond it."""
    data = sound(_noise(5), rate_hz=16_000, codec=codec, container=container)
    upload = Upload(data, chunk=len(data) // 20, size_known=size_known, ranges=[(0, len(data))])
    try:
        with open_title(upload.source) as reader:
            assert_same(list(reader.segments()), read_all(data))
            assert reader.times.broken == 0
    finally:
        upload.close()


def test_an_avi_that_tells_keyframes_in_its_index_alone_waits_for_it(
    open_title: Open, read_all: ReadAll
) -> None:
    data = film(even_times(40, 10), codec="msmpeg4", container="avi", rate=10, gop=20, size=(640, 480))
    segments, first = _grown(open_title, data)
    assert first == 1.0
    assert_same(segments, read_all(data))


def test_real_files_in_odd_pieces(open_title: Open, read_all: ReadAll, media: Path) -> None:
    names = [
        "video/animation_claymation_man_tree.ogv",
        "video/animation_tos_room_robot_vp9.webm",
        "video/people_man_checked_shirt_talking.mp4",
        "video/transcode_elf_wmv2_wma.wmv",
        "audio/speech_countdown.mp3",
        "image/dog_poodle.png",
        "odd/image_multipage.tiff",
        "odd/streams_subtitle_only.mkv",
        "odd/streams_fragmented.mp4",
    ]
    for name in names:
        data = (media / name).read_bytes()
        segments, _ = _grown(open_title, data, size_known=True, chunk=7_919)
        assert_same(segments, read_all(media / name), name)


def test_what_is_no_media_is_refused_at_its_head(open_title: Open) -> None:
    data = np.random.default_rng(3).bytes(40_000_000)
    upload = Upload(data, chunk=1 << 20, size_known=True, ranges=[(0, len(data))])
    try:
        with pytest.raises(MediaError):
            open_title(upload.source)
        assert upload.sent < 8_000_000
    finally:
        upload.close()


def test_waiting_is_neither_a_stall_nor_work(open_title: Open) -> None:
    data = sound(_noise(40), rate_hz=16_000, codec="flac", container="flac")
    source = GrowingSource("slow", lambda offset, size: data[offset : offset + size])
    quarter = len(data) // 4

    def send() -> None:
        for part in range(4):
            time.sleep(0.9)  # far over the time that a stall is allowed
            source.add(part * quarter, quarter)
        source.add(4 * quarter, len(data) - 4 * quarter)
        source.end(len(data))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    with open_title(source, limits=Limits(stall_timeout_s=0.5)) as reader:
        assert len(list(reader.segments())) == 5
        assert reader.times.demux_s < 1.0
    sender.join()


def test_a_reader_that_hangs_with_its_bytes_at_hand_stalls(open_title: Open) -> None:
    data = sound(_noise(20), rate_hz=16_000, codec="flac", container="flac")
    release = threading.Event()

    def read_at(offset: int, size: int) -> bytes:
        if offset > len(data) // 2:
            release.wait(20)
        return data[offset : offset + size]

    source = GrowingSource("stuck", read_at)
    source.add(0, len(data))
    source.end(len(data))
    started = time.monotonic()
    with open_title(source, limits=Limits(stall_timeout_s=0.5)) as reader:
        with pytest.raises(MediaStalledError, match=r"for 0\.5 s"):
            list(reader.segments())
        release.set()
    assert time.monotonic() - started < 5


def test_closing_ends_the_wait(open_title: Open) -> None:
    data = sound(_noise(30), rate_hz=16_000, codec="flac", container="flac")
    source = GrowingSource("left", lambda offset, size: data[offset : offset + size])
    source.add(0, len(data) // 2)
    reader = open_title(source)
    segments = reader.segments()
    next(segments)
    before = time.monotonic()
    reader.close()
    assert time.monotonic() - before < 1.0
    assert not [t for t in threading.enumerate() if t.name.startswith("resonance-read")]


def test_forgotten_bytes_are_a_typed_error() -> None:
    source = GrowingSource("live", lambda offset, size: bytes(size))
    source.add(0, 1000)
    with source.open() as handle:
        assert len(handle.read(100)) == 100
        source.forget(500)
        with pytest.raises(ForgottenBytesError, match="at 100 of a live feed"):
            handle.read(10)
        handle.seek(500)
        assert len(handle.read(10)) == 10


def test_a_live_feed_that_was_forgotten_loses_pictures_and_goes_on(open_title: Open) -> None:
    """One keyframe in 60 s: windows must be decoded by a reader that starts at bytes that are gone."""
    data = film(even_times(60, 10), container="matroska", rate=10, gop=10_000, options=FAST)
    voice = sound(_noise(60), rate_hz=16_000, codec="flac", container="matroska")
    joined = _mux(data, voice)
    past = {f"resonance-read-{kind}": threading.Event() for kind in ("video", "sound")}

    def read_at(offset: int, size: int) -> bytes:
        """Forgets the head once both readers are past it, and long before window 1 is to be decoded."""
        name = threading.current_thread().name
        if offset > 8_000 and name in past:
            past[name].set()
        if offset > len(joined) * 0.15:  # one may have read all before the other begins
            assert all(reader.wait(20) for reader in past.values())
            source.forget(100)
        return joined[offset : offset + min(size, 1024)]

    source = GrowingSource("live", read_at)
    source.add(0, len(joined))
    source.end(len(joined))
    with open_title(source) as reader:
        first, *rest = reader.segments()
    assert first.video is not None
    assert [s.index for s in rest] == list(range(1, 8))
    assert all(s.pcm is not None for s in rest)
    assert all(s.video is None for s in rest)


@pytest.mark.parametrize(("container", "late_s"), [("mpegts", 9.5), ("mpegts", 100.0), ("matroska", 9.5)])
def test_a_stream_that_was_not_met_while_opening_does_not_start_at_zero(
    open_title: Open, container: str, late_s: float
) -> None:
    """The container's clock begins at 1000 s; sound begins late, or is declared and never comes."""
    data = film(even_times(20, 10), codec="mpeg2video", container="mpegts", rate=10, gop=20)
    coded = {"mpegts": ("aac", "adts"), "matroska": ("flac", "flac")}[container]
    voice = sound(_noise(5), rate_hz=48_000, codec=coded[0], container=coded[1])
    live = {"live": "1"} if container == "matroska" else {}
    joined = _mux(data, voice, container, late_s=late_s, output_ts_offset="1000", **live)
    segments, _ = _grown(open_title, joined, chunk=len(joined) // 20)
    assert [s.index for s in segments] == [0, 1, 2]
    assert segments[0].frame_times_s == pytest.approx((0.0, 2.0, 4.0, 6.0), abs=0.01)
    assert [s.pcm is not None for s in segments] == [False, late_s < 16, False]


def _mux(
    video: bytes, audio: bytes, container: str = "matroska", *, late_s: float = 0.0, **options: str
) -> bytes:
    """Both in one container; sound comes `late_s` later, but none of it after 20 s where that is late."""
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(video)) as seen,
        av.open(io.BytesIO(audio)) as heard,
        av.open(out, "w", format=container, options=options) as file,
    ):
        packets = []
        for source, shift_s in ((seen, 0.0), (heard, late_s)):
            stream = file.add_stream_from_template(source.streams[0])
            for packet in source.demux():
                if not packet.size or shift_s >= 20:
                    continue
                assert packet.dts is not None
                assert packet.pts is not None
                assert packet.time_base is not None
                packet.dts += round(shift_s / packet.time_base)
                packet.pts += round(shift_s / packet.time_base)
                packets.append((float(packet.dts * packet.time_base), packet, stream))
        for _, packet, stream in sorted(packets, key=lambda row: row[0]):
            packet.stream = stream
            file.mux(packet)
    return out.getvalue()
