"""What a file is, is told by its content; whatever it is, it gives segments or one typed line."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from resonance.clients.errors import (
    MediaError,
    MediaLimitError,
    MediaStalledError,
    NoModalityError,
    NotMediaError,
    UsageError,
)
from resonance.clients.media.clip import decode_clip
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import Clip, Frames, Limits, SampledBy, SegmentInput
from resonance.clients.media.words import SubtitleFile
from tests.clients.media.synthetic import SRT, even_times, film, film_in_huffyuv, with_subtitles
from tests.lengths import short_and_whole
from tests.real_media import rows_of
from tests.small_disk import disk_of

ReadAll = Callable[..., list[SegmentInput]]
Show = Callable[[SegmentInput], Frames]
SAMPLINGS = ("keyframes", "uniform")
#: Videos whose sound track is silent, or near it (-71 dBFS); the manifest says so in prose.
SILENT = {
    "plants_flower_opening",
    "fixedcam_cars_from_above",
    "people_dark_room_paper_sign_vfr",
    "people_dark_room_embedded_subs",
}
ODD_LIMIT_S = 10.0


def _well_formed(segments: list[SegmentInput]) -> None:
    assert [s.index for s in segments] == sorted({s.index for s in segments})
    for s in segments:
        assert s.video is not None or s.pcm is not None or s.text
        assert (s.video is None) == (s.sampled_by == SampledBy.NONE)
        if s.start_s is not None and s.end_s is not None and s.sampled_by != SampledBy.IMAGE:
            assert s.start_s == 8.0 * s.index
            assert 0 < s.end_s - s.start_s <= 8.0
        if s.pcm is not None:
            assert s.pcm.samples.shape == (128_000,)
            assert s.pcm.samples.dtype == np.float32
            assert 0 < s.pcm.length <= 128_000
            assert np.isfinite(s.pcm.samples).all()
        if isinstance(s.video, Clip):
            assert 1 <= len(s.video.packets) <= s.video.frame_bucket
            assert list(s.video.packets) == sorted(s.video.packets, key=lambda p: p.time_s)
        if isinstance(s.video, Frames):
            assert s.video.pixels.shape[1:] == (224, 224, 3)
            assert s.video.mask.any()


@pytest.mark.parametrize("whole", short_and_whole(False, True))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_video_has_the_modalities_of_the_manifest(
    read_all: ReadAll, media: Path, sampling: str, whole: bool
) -> None:
    for row in rows_of(media, "video", whole=whole):
        segments = read_all(media / row["path"], sampling=sampling)
        _well_formed(segments)
        assert all(s.video is not None for s in segments), row["path"]
        assert len(segments) == pytest.approx(row["dur"] / 8, abs=1.01), row["path"]
        heard = any(s.pcm is not None for s in segments)
        assert heard == (row["audio"] is not None and Path(row["path"]).stem not in SILENT), row["path"]
        assert any(s.text for s in segments) == ("mov_text" in row["codecs"]), row["path"]


def test_every_sound_is_heard(read_all: ReadAll, media: Path) -> None:
    for row in rows_of(media, "audio"):
        segments = read_all(media / row["path"])
        _well_formed(segments)
        assert all(s.video is None for s in segments), row["path"]
        seconds = max(s.end_s or 0.0 for s in segments)
        # a recording may end in silence, which is no segment
        assert row["dur"] - 8.0 < seconds < row["dur"] + 0.5, row["path"]


def test_every_picture_is_seen(read_all: ReadAll, media: Path) -> None:
    for row in rows_of(media, "image"):
        path = media / row["path"]
        [segment] = read_all(path)
        _well_formed([segment])
        assert isinstance(segment.video, Frames)
        pillow = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        difference = np.abs(segment.video.pixels[0].astype(int) - np.asarray(pillow).astype(int))
        assert difference.mean() < 2.0, row["path"]  # JPEGs are decoded near the size needed


def test_video_that_is_not_read_is_told_where_there_is_sound(open_title: Callable[..., MediaReader]) -> None:
    with open_title(film_in_huffyuv(heard=True)) as reader:
        [segment] = reader.segments()
        assert reader.info.codecs == {"audio": "pcm_s16le"}
        assert reader.info.left_out == {"video": "huffyuv"}
    assert segment.video is None
    assert segment.pcm is not None


def test_video_that_is_not_read_is_named_where_there_is_nothing_else(read_all: ReadAll) -> None:
    with pytest.raises(NoModalityError, match=r"old.avi: video in 'huffyuv' alone; expected .* h264, "):
        read_all(film_in_huffyuv(heard=False), name="old.avi")


def test_subtitles_that_are_not_read_are_told_where_no_others_are_used(
    open_title: Callable[..., MediaReader],
) -> None:
    words = ("srt", SRT, Disposition.default)
    read = with_subtitles(film(even_times(24, 5), rate=5), words)
    pictures = read.replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\0")  # subtitles of a disc, by their name alone
    with open_title(pictures, name="disc.mkv") as reader:
        assert reader.info.left_out == {"subtitle": "hdmv_pgs_subtitle"}
        assert reader.info.remarks() == [
            "disc.mkv: its subtitle in 'hdmv_pgs_subtitle' is left out: it cannot be read here"
        ]
    with open_title(pictures, transcript=SubtitleFile("srt", SRT.encode())) as reader:
        assert reader.info.left_out == {}
    with open_title(read) as reader:
        assert reader.info.left_out == {}


def test_nothing_is_left_out_of_what_is_read_whole(
    open_title: Callable[..., MediaReader], media: Path
) -> None:
    for name in ("video/transcode_elf_hevc_aac.mp4", "odd/streams_mp3_with_cover_art.mp3"):
        with open_title(media / name) as reader:
            assert reader.info.left_out == {}


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_odd_file_gives_segments_or_one_typed_line(
    open_title: Callable[..., MediaReader], show: Show, media: Path, sampling: str
) -> None:
    outcomes: dict[str, str] = {}
    said: dict[str, str] = {}
    for path in sorted((media / "odd").iterdir()):
        started = time.monotonic()
        try:
            with open_title(path, sampling=sampling) as reader:
                segments = list(reader.segments())
                for segment in segments:
                    if segment.video is not None:
                        show(segment)
            _well_formed(segments)
            assert segments, path.name
            outcomes[path.name] = "segments"
        except MediaError as error:
            outcomes[path.name] = type(error).__name__
            said[path.name] = str(error)
        assert time.monotonic() - started < ODD_LIMIT_S, path.name
    assert all(name in line and "\n" not in line for name, line in said.items())
    for name, outcome in outcomes.items():
        if name.startswith(("notmedia", "trunc_no_index", "trunc_stub")):
            assert outcome == "NotMediaError", name
        if name.startswith(("wrongname", "geom", "name with", "image_animated", "streams")):
            assert outcome == "segments", name
    assert outcomes["image_bomb_20000x20000.png"] == "MediaLimitError"
    assert outcomes["empty_header_only.wav"] == "NoModalityError"


@pytest.mark.parametrize("whole", short_and_whole(False, True))
def test_frames_of_real_files_are_those_of_their_times(
    read_all: ReadAll, show: Show, media: Path, whole: bool
) -> None:
    """Against a full decode in order by PyAV alone, scaled by Pillow."""
    compared = 0
    for row in rows_of(media, "video", whole=whole):
        if "av1" in row["codecs"] or row["dur"] > 45:
            continue  # slow to decode in full; their times are tested on films made for it
        shown = {}
        for segment in read_all(media / row["path"]):
            frames = show(segment)
            assert segment.start_s is not None
            for picture, time_s in zip(frames.pixels[frames.mask], frames.times_s[frames.mask], strict=True):
                shown[round(segment.start_s + float(time_s), 3)] = picture
        with av.open(str(media / row["path"])) as file:
            stream = file.streams.video[0]
            chosen = (*file.streams.video[:1], *file.streams.audio[:1])
            starts = [float((s.start_time or 0) * (s.time_base or 0)) for s in chosen]
            assert stream.time_base is not None
            for frame in _decoded_in_order(file):
                assert frame.pts is not None
                picture = shown.pop(round(float(frame.pts * stream.time_base) - min(starts), 3), None)
                if picture is None:
                    continue
                grey = (
                    frame.to_image()
                    .rotate(frame.rotation)
                    .resize((224, 224), Image.Resampling.BILINEAR)
                    .convert("L")
                )
                ours = Image.fromarray(picture).convert("L")
                likeness = np.corrcoef(np.asarray(grey).ravel(), np.asarray(ours).ravel())[0, 1]
                assert likeness > 0.985 or np.asarray(grey).std() < 4, (row["path"], frame.pts)
                compared += 1
        assert len(shown) <= 1, (row["path"], shown.keys())  # H.264 in AVI and the like round times
    assert compared > (80 if whole else 40)


def _decoded_in_order(file: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    for packet in file.demux(file.streams.video[0]):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *arguments: object) -> int:
        raise io.UnsupportedOperation("seek")


def test_bytes_files_and_pipes_read_alike(read_all: ReadAll, media: Path, tmp_path: Path) -> None:
    path = media / "video" / "people_man_checked_shirt_talking.mp4"
    data = path.read_bytes()
    expected = read_all(path)

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True)
    writer.start()
    with path.open("rb") as file:
        for source in (data, bytearray(data), io.BytesIO(data), file, Unseekable(data), pipe):
            got = read_all(source)
            assert [s.index for s in got] == [s.index for s in expected]
            for a, b in zip(got, expected, strict=True):
                assert a.video == b.video
                assert a.pcm is not None
                assert b.pcm is not None
                assert np.array_equal(a.pcm.samples, b.pcm.samples)


def test_what_cannot_seek_is_copied_up_to_a_limit(read_all: ReadAll) -> None:
    read, write = os.pipe()
    feeder = threading.Thread(target=_feed, args=(write, bytes(3_000_000)), daemon=True)
    feeder.start()
    with os.fdopen(read, "rb") as source, pytest.raises(MediaLimitError, match="over 1,000,000 bytes"):
        read_all(source, limits=Limits(max_spool_bytes=1_000_000), name="stdin")


@pytest.mark.parametrize(
    ("size", "room", "said"),
    [
        (5_000, 1000, "File too large"),
        (3_000_000, 1000, "File too large"),
        (5_000, 0, "No usable temporary directory"),
    ],
)
def test_a_copy_without_room_is_not_the_medias_fault(
    size: int, room: int, said: str, read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends no command that has other media to embed."""
    if not room:  # nor to look for a folder that has some
        monkeypatch.setattr(tempfile, "tempdir", None)
    with disk_of(room), pytest.raises(UsageError, match=rf"feed: .* copy in .* \({said}.*\); .* TMPDIR"):
        read_all(Unseekable(bytes(size)), name="feed")


def _feed(descriptor: int, data: bytes) -> None:
    try:
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(data)
    except BrokenPipeError:
        return


def test_a_pipe_that_says_nothing_stalls_in_time(read_all: ReadAll) -> None:
    read, write = os.pipe()
    os.write(write, b"RIFF")
    started = time.monotonic()
    with os.fdopen(read, "rb") as source:
        with pytest.raises(MediaStalledError, match=r"no answer for 0\.5 s"):
            read_all(source, limits=Limits(stall_timeout_s=0.5))
        os.close(write)  # lets the read left behind end
    assert time.monotonic() - started < 5


def test_a_named_pipe_that_says_nothing_stalls_in_time(read_all: ReadAll, tmp_path: Path) -> None:
    """Closing it would wait for its sender."""
    pipe = tmp_path / "feed"
    os.mkfifo(pipe)
    silent = threading.Event()

    def hold_open() -> None:
        with pipe.open("wb"):
            silent.wait(20)

    sender = threading.Thread(target=hold_open)
    sender.start()
    started = time.monotonic()
    try:
        with pytest.raises(MediaStalledError, match=r"no answer for 0\.5 s"):
            read_all(pipe, limits=Limits(stall_timeout_s=0.5))
        assert time.monotonic() - started < 5
        while any(thread.name == "resonance-open" for thread in threading.enumerate()):
            assert time.monotonic() - started < 10, "the pipe is still waited for"
            time.sleep(0.02)
    finally:
        silent.set()
        sender.join()


def test_nothing_else_is_opened(read_all: ReadAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film(even_times(2)))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n"
    traps = {
        "list.m3u8": playlist,
        "concat.mp4": f"ffconcat version 1.0\nfile '{secret.name}'\n",
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "dash.mpd": f'<MPD><Period><AdaptationSet><BaseURL>{secret}</BaseURL></AdaptationSet></Period></MPD>',
        "art.txt.ans": "\x1b[31mred\x1b[0m" * 100,
    }  # fmt: skip
    for name, text in traps.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(NotMediaError) as caught:
            read_all(path)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_never_leak_a_librarys_error(
    open_title: Callable[..., MediaReader], descriptor: Any, media: Path
) -> None:
    rng = np.random.default_rng(11)
    names = [
        "video/transcode_elf_hevc_aac.mp4",
        "video/transcode_elf_av1_opus.mkv",
        "video/transcode_elf_mpeg2_mp2.ts",
        "video/transcode_elf_wmv2_wma.wmv",
        "video/transcode_elf_flv1_mp3.flv",
        "video/transcode_elf_mpeg4_noaudio.avi",
        "video/people_dark_room_embedded_subs.m4v",
        "audio/bird_robin_whistle.ogg",
        "audio/esc10_dog_bark_1-110389-A.flac",
        "image/insect_bumblebee.jpg",
        "image/cat_tabby_kitten.webp",
        "odd/image_multipage.tiff",
        "odd/image_icon.ico",
        "odd/image_avif.avif",
        "odd/image_animated.gif",
        "odd/image_rgba_gradient_alpha.png",
    ]
    read, lines = 0, []
    for name in names:
        original = (media / name).read_bytes()
        for round_ in range(6):
            data = np.frombuffer(original, np.uint8).copy()
            reach = data.size if round_ % 2 else min(data.size, 2000)  # the head as often as the whole
            places = rng.integers(0, reach, max(4, reach // 500))
            data[places] = rng.integers(0, 256, places.size)
            try:
                with open_title(data.tobytes(), name=name, sampling=SAMPLINGS[round_ % 2]) as reader:
                    for segment in reader.segments():
                        read += 1
                        if isinstance(segment.video, Clip):
                            try:
                                decode_clip(segment.video, descriptor.frames)
                            except ValueError:  # what the server turns into a refusal
                                reader.decode_segment(segment)
            except MediaError as error:
                lines.append(str(error))
    assert not [line for line in lines if "\n" in line]
    assert read > 30


def test_wrong_use(read_all: ReadAll, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keyframes, uniform"):
        read_all(b"x", sampling="all")
    with pytest.raises(UsageError, match="binary file object"):
        read_all(io.StringIO("x"))
    with pytest.raises(NotMediaError, match="cannot be opened"):
        read_all(tmp_path / "nowhere.mp4")
    with pytest.raises(NotMediaError):
        read_all(tmp_path)
    with pytest.raises(NotMediaError, match="no bytes"):
        read_all(b"")


def test_every_library_error_maps_to_ours() -> None:
    from resonance.clients.media.container import typed_errors

    kinds = [
        kind
        for kind in vars(av.error).values()
        if isinstance(kind, type) and issubclass(kind, av.error.FFmpegError)
    ]
    assert len(kinds) > 20
    for kind in [*kinds, OSError, ValueError, EOFError, UnicodeError]:
        error = kind(1, "reason") if issubclass(kind, OSError | av.error.FFmpegError) else kind("reason")
        with pytest.raises(MediaError, match="film"), typed_errors("film"):
            raise error
