"""Posters, clips and files of titles."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.container import InputContainer
from PIL import Image
from starlette.testclient import TestClient

from resonance.clients.errors import CorruptMediaError, MediaError, MediaStalledError, OverloadedError
from resonance.clients.explorer import clips
from resonance.clients.explorer.cache import RenderCache
from resonance.clients.explorer.clips import make_clip
from resonance.clients.explorer.errors import NothingToShowError
from resonance.clients.explorer.keys import key_of
from resonance.clients.explorer.kinds import MediaKind, media_kind
from resonance.clients.explorer.posters import make_poster
from resonance.clients.explorer.ranges import parse_range
from tests.clients.explorer.conftest import HOSTILE
from tests.clients.media.synthetic import even_times, film, numbered_picture, read_number, with_display_matrix

FILM = key_of("films/000000.mp4")
#: No keyframes but those that were asked for.
AS_TOLD = {"preset": "ultrafast", "sc_threshold": "0"}


def whole(client: TestClient, key: str = FILM) -> bytes:
    answer = client.get(f"/media/{key}/file")
    assert answer.status_code == 200
    assert answer.headers["accept-ranges"] == "bytes"
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer.content


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=100-", 100, None), ("bytes=-50", -50, None)],
)
def test_files_are_served_in_ranges(client: TestClient, header: str, first: int, last: int | None) -> None:
    data = whole(client)
    answer = client.get(f"/media/{FILM}/file", headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == data[first : None if last is None else last + 1]
    start = first if first >= 0 else len(data) + first
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(answer.content) - 1}/{len(data)}"
    assert answer.headers["content-type"] == "video/mp4"


def test_ranges_behind_the_end_and_without_sense(client: TestClient) -> None:
    data = whole(client)
    behind = client.get(f"/media/{FILM}/file", headers={"Range": f"bytes={len(data)}-"})
    assert behind.status_code == 416
    assert behind.headers["content-range"] == f"bytes */{len(data)}"
    beyond = client.get(f"/media/{FILM}/file", headers={"Range": f"bytes=10-{10**17}"})
    assert beyond.content == data[10:]
    for header in ("bytes=9-3", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=x-"):
        assert client.get(f"/media/{FILM}/file", headers={"Range": header}).status_code == 200, header


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=2-4", 10, (2, 4)),
        ("bytes=-20", 10, (0, 9)),
        ("bytes=0-", 0, ValueError),
        ("bytes=-0", 10, ValueError),
    ],
)
def test_ranges_are_read(header: str | None, size: int, expected: object) -> None:
    if expected is ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  the one that it raises
            parse_range(header, size)
    else:
        assert parse_range(header, size) == expected


def test_only_media_is_handed_out(client: TestClient) -> None:
    """A row may name any file of this machine; what is no media stays there."""
    secret = key_of("secret")
    for what in ("file", "clip", "poster", "playback"):
        answer = client.get(f"/media/{secret}/{what}")
        assert answer.status_code == 422, what
        assert "password" not in answer.text
        assert answer.headers["content-type"] == "application/json"


def test_media_that_is_away_is_told(client: TestClient) -> None:
    for what in ("file", "clip", "poster", "playback"):
        answer = client.get(f"/media/{key_of('gone.mp4')}/{what}")
        assert answer.status_code == 422
        assert "cannot be opened" in answer.json()["error"]["text"]


@pytest.mark.parametrize("at", ["-1", "nan", "inf", "1e12", "x"])
def test_times_that_are_none(client: TestClient, at: str) -> None:
    for what in ("clip", "poster"):
        assert client.get(f"/media/{FILM}/{what}?at={at}").status_code == 400


def test_kinds(client: TestClient) -> None:
    def kind(name: str) -> tuple[str, str | None]:
        found = client.get(f"/media/{key_of(name)}/playback").json()
        return found["kind"], found["direct"]

    film, film_type = kind("films/000000.mp4")
    assert film == "video"
    assert film_type is not None
    assert film_type.startswith('video/mp4; codecs="avc1.')
    assert film_type.endswith('mp4a.40.2"')
    assert kind("films/000001.mkv") == ("video", None)
    assert kind("films/000007.wav") == ("sound", 'audio/wav; codecs="1"')
    assert kind("films/000008.png") == ("image", None)
    assert kind("films/000009.txt") == ("text", None)
    assert client.get(f"/media/{key_of('films/000009.txt')}/playback").json()["excerpt"]
    assert kind(HOSTILE)[0] == "video"


def test_a_poster_is_the_picture_of_its_second(client: TestClient) -> None:
    pictures = [client.get(f"/media/{FILM}/poster?at={at}") for at in (0, 3, 5)]
    assert all(p.headers["content-type"] == "image/jpeg" for p in pictures)
    sizes = {Image.open(io.BytesIO(p.content)).size for p in pictures}
    assert sizes == {(128, 96)}  # small pictures are not enlarged
    assert len({p.content for p in pictures}) == 3
    assert client.get(f"/media/{FILM}/poster?at=3").content == pictures[1].content
    past_the_end = client.get(f"/media/{FILM}/poster?at=100000")
    assert past_the_end.status_code == 200


def test_what_has_no_picture_has_no_poster(client: TestClient) -> None:
    for name in ("films/000007.wav", "films/000009.txt"):
        assert client.get(f"/media/{key_of(name)}/poster").status_code in (404, 422)


def test_a_clip_is_h264_and_aac_of_its_stretch(client: TestClient) -> None:
    key = key_of("films/000001.mkv")
    answer = client.get(f"/media/{key}/clip?at=2")
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as clip:
        assert clip.streams.video[0].codec_context.name == "h264"
        assert clip.streams.audio[0].codec_context.name == "aac"
        frames = [frame.time for frame in clip.decode(video=0)]
    assert frames[0] == pytest.approx(0, abs=0.05)
    assert frames == sorted(set(frames))
    part = client.get(f"/media/{key}/clip?at=2", headers={"Range": "bytes=4-7"})
    assert part.status_code == 206
    assert part.content == b"ftyp"


def test_a_clip_of_sound_alone(client: TestClient) -> None:
    answer = client.get(f"/media/{key_of('films/000007.wav')}/clip?at=1")
    with av.open(io.BytesIO(answer.content)) as clip:
        assert not clip.streams.video
        assert float(clip.duration) / av.time_base > 3


VIDEOS = (
    *("transcode_elf_mpeg4_noaudio.avi", "transcode_elf_mpeg2_mp2.ts", "transcode_elf_hevc_aac.mp4"),
    *("transcode_elf_wmv2_wma.wmv", "transcode_elf_flv1_mp3.flv", "transcode_elf_h263_aac.3gp"),
    *("transcode_elf_mjpeg_pcm.avi", "animation_claymation_man_tree.ogv", "transcode_elf_av1_opus.mkv"),
    "people_dark_room_paper_sign_vfr.mov",
)


@pytest.mark.parametrize("name", VIDEOS)
def test_real_files_become_clips_and_posters(media: Path, name: str) -> None:
    uri = str(media / "video" / name)
    with av.open(uri) as file:
        stream = file.streams.video[0]
        shape = (
            stream.codec_context.width * float(stream.sample_aspect_ratio or 1) / stream.codec_context.height
        )
        has_sound = bool(file.streams.audio)
    poster = Image.open(io.BytesIO(make_poster(uri, 2.0, 480, 5.0)))
    assert max(poster.size) <= 480
    data = make_clip(uri, 1.0, 2.0, 20.0)
    with av.open(io.BytesIO(data)) as clip:
        video = clip.streams.video[0]
        assert bool(clip.streams.audio) == has_sound
        assert float(video.duration * video.time_base) == pytest.approx(2.0, abs=0.25)
        if poster.width > poster.height:  # those that lie on their side are turned
            assert video.width / video.height == pytest.approx(shape, rel=0.05)


@pytest.mark.parametrize("at_s", [3.0, 9.5])
def test_a_picture_that_stands_is_in_the_clip(tmp_path: Path, at_s: float) -> None:
    slides = tmp_path / "slides.mp4"
    with av.open(str(slides), "w") as out:
        stream = out.add_stream("libx264", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for time_s, level in ((0, 40), (10, 120), (20, 200)):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), "rgb24")
            frame.pts = time_s
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(io.BytesIO(make_clip(str(slides), at_s, 4.0, 20.0))) as clip:
        found = [(f.time, float(f.to_ndarray(format="rgb24").mean())) for f in clip.decode(video=0)]
    expected = [(0.0, 40)] if at_s == 3.0 else [(0.0, 40), (0.5, 120)]
    assert [t for t, _ in found] == pytest.approx([t for t, _ in expected], abs=0.05)
    assert [level for _, level in found] == pytest.approx([level for _, level in expected], abs=4)


def test_the_poster_and_the_clip_show_the_same_second(media: Path) -> None:
    uri = str(media / "video" / "transcode_elf_mpeg2_mp2.ts")
    with av.open(io.BytesIO(make_clip(uri, 2.0, 1.0, 20.0))) as clip:
        first = next(clip.decode(video=0)).to_ndarray(format="rgb24").astype(float)
    size = max(first.shape[:2])

    def apart(at_s: float) -> float:
        poster = Image.open(io.BytesIO(make_poster(uri, at_s, size, 5.0))).resize(first.shape[1::-1])
        return float(np.abs(np.asarray(poster, float) - first).mean())

    assert apart(2.02) < 6
    assert apart(2.02) < 0.5 * apart(0.0)


def test_a_mirrored_film_is_shown_as_players_show_it(tmp_path: Path) -> None:
    path = tmp_path / "selfie.mp4"
    path.write_bytes(with_display_matrix(film([0.0, 1.0, 2.0], gop=1, size=(160, 96)), -1, 0, 0, 1))
    expected = read_number(np.fliplr(numbered_picture(2, 160, 96)))
    poster = Image.open(io.BytesIO(make_poster(str(path), 2.0, 160, 5.0)))
    assert read_number(np.asarray(poster)) == expected
    with av.open(io.BytesIO(make_clip(str(path), 2.0, 0.5, 20.0))) as clip:
        assert read_number(next(clip.decode(video=0)).to_ndarray(format="rgb24")) == expected


def test_a_container_without_an_index_shows_what_lies_far_from_a_keyframe(tmp_path: Path) -> None:
    path = tmp_path / "broadcast.ts"  # keyframes at 0 and 35 s
    path.write_bytes(film(even_times(40.0, rate=2.0), container="mpegts", gop=70, rate=2, options=AS_TOLD))
    for at_s in (1.0, 9.0, 13.0, 34.0, 36.0, 99.0):
        number = min(round(2 * at_s), 79)
        poster = Image.open(io.BytesIO(make_poster(str(path), at_s, 128, 5.0)))
        assert read_number(np.asarray(poster)) == number, at_s
        with av.open(io.BytesIO(make_clip(str(path), at_s, 2.0, 20.0))) as clip:
            first = next(clip.decode(video=0))
        assert (first.time, read_number(first.to_ndarray(format="rgb24"))) == (0.0, number), at_s


@pytest.mark.parametrize(("packet_s", "begins_s"), [(0.0, 0.0), (1.0, 1.0)])
def test_a_try_from_further_back_that_takes_too_long_gives_way_to_the_clip_that_begins_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packet_s: float, begins_s: float
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(
        film(even_times(40.0, rate=2.0), gop=70, rate=2, options=AS_TOLD)
    )  # keyframes at 0 and 35 s
    tries, now_s = 0, 0.0

    def seek_too_far(container: InputContainer, *aim: object) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            container.seek(36 * av.time_base)  # keyframes are at 0 and 35 s
        return tries == 1

    def clock() -> float:
        nonlocal now_s
        now_s += packet_s if tries > 1 else 0.0
        return now_s

    monkeypatch.setattr(clips, "seek", seek_too_far)
    monkeypatch.setattr(clips, "time", SimpleNamespace(monotonic=clock))
    with av.open(io.BytesIO(make_clip(str(path), 34.0, 2.0, 20.0))) as clip:
        first = next(clip.decode(video=0))
    assert (first.time, read_number(first.to_ndarray(format="rgb24"))) == (begins_s, 68 + 2 * begins_s)


def test_a_clip_of_which_nothing_was_reached_in_time_shows_nothing_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(film(even_times(40.0, rate=2.0), gop=80, rate=2, size=(64, 64), options=AS_TOLD))
    times = count()
    monkeypatch.setattr(clips, "time", SimpleNamespace(monotonic=lambda: float(next(times))))
    with pytest.raises(MediaStalledError, match=r"nothing decoded from 30\.0 s on in 20 s"):
        make_clip(str(path), 30.0, 2.0, 20.0)


def test_a_clip_that_takes_too_long_is_a_shorter_one(media: Path) -> None:
    uri = str(media / "video" / "animation_claymation_man_tree.ogv")
    with av.open(io.BytesIO(make_clip(uri, 0.0, 20.0, 0.4))) as clip:
        assert 0 < float(clip.duration) / av.time_base < 20


@pytest.mark.parametrize(
    "name",
    [
        "trunc_stub_4kB.mp4",
        "notmedia_ffconcat.mp4",
        "empty_zero_bytes.webm",
        "notmedia_hls_playlist_file.m3u8",
    ],
)
def test_odd_files_are_told(media: Path, name: str) -> None:
    uri = str(media / "odd" / name)
    with pytest.raises(MediaError):
        make_poster(uri, 0.0, 480, 5.0)
    with pytest.raises((MediaError, NothingToShowError)):
        make_clip(uri, 0.0, 5.0, 5.0)


@pytest.mark.parametrize(
    "name",
    [
        "geom_tall_32x2048.mp4",
        "streams_h264_10bit.mp4",
        "streams_bt709_full_range.mp4",
        "name with spaces ünïcödé 犬 (1).mp4",
    ],
)
def test_odd_shapes_are_shown(media: Path, name: str) -> None:
    uri = str(media / "odd" / name)
    assert Image.open(io.BytesIO(make_poster(uri, 0.0, 480, 5.0))).size[1] <= 480
    assert make_clip(uri, 0.0, 2.0, 20.0)[4:8] == b"ftyp"


def test_stills_and_bombs(media: Path) -> None:
    cmyk = Image.open(io.BytesIO(make_poster(str(media / "odd" / "image_cmyk.jpg"), 0.0, 480, 5.0)))
    assert cmyk.mode == "RGB"
    with pytest.raises(MediaError):
        make_poster(str(media / "odd" / "image_bomb_20000x20000.png"), 0.0, 480, 5.0)


def test_avc_and_hevc_are_named_for_the_browser_to_decide(media: Path) -> None:
    hevc = media_kind(str(media / "video" / "transcode_elf_hevc_aac.mp4"))
    assert hevc.direct is not None
    assert "hvc1" in hevc.direct
    vp9 = media_kind(str(media / "video" / "animation_tos_room_robot_vp9.webm"))
    assert vp9.content_type == "video/webm"
    assert media_kind(str(media / "video" / "transcode_elf_mpeg4_noaudio.avi")).direct is None
    wrong = media_kind(str(media / "odd" / "wrongname_flac_content.mp3"))
    assert wrong.content_type == "audio/flac"


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_file_whose_times_begin_late_is_no_file_for_the_browser(tmp_path: Path, container: str) -> None:
    for start_s, plays in ((0.0, True), (0.1, True), (20.0, False)):
        path = tmp_path / f"{start_s}"
        codec = "libx264" if container == "mp4" else "libvpx-vp9"
        path.write_bytes(film(even_times(1.0, start_s=start_s), codec=codec, container=container))
        assert (media_kind(str(path)).direct is not None) == plays, start_s


def test_subtitles_alone_are_words(tmp_path: Path) -> None:
    path = tmp_path / "words.mkv"
    cues = io.BytesIO(b"1\n00:00:01,000 --> 00:00:02,000\nA quiet room.\n")
    with av.open(cues, format="srt") as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams[0])
        for packet in read.demux():
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert media_kind(str(path)) == MediaKind("text")


async def test_what_is_made_is_made_once_and_kept_within_bounds() -> None:
    cache = RenderCache("thing", max_bytes=25, at_once=2, waiting=1)
    made: list[str] = []
    go_on = threading.Event()

    def make(name: str) -> bytes:
        made.append(name)
        go_on.wait(10)
        return name.encode() * 10

    both = [asyncio.create_task(cache.get("a", lambda: make("a"))) for _ in range(5)]
    others = [asyncio.create_task(cache.get(name, lambda name=name: make(name))) for name in "bc"]
    await asyncio.sleep(0.1)
    with pytest.raises(OverloadedError, match="3 things are being made"):
        await cache.get("d", lambda: make("d"))
    go_on.set()
    assert {await task for task in both} == {b"a" * 10}
    await asyncio.gather(*others)
    assert sorted(made) == ["a", "b", "c"]
    for name in "bc":  # they may have ended in any order: one of the three had to go
        await cache.get(name, lambda name=name: make(name))
    so_far = len(made)
    assert so_far <= 5
    for name in "bc":  # kept
        await cache.get(name, lambda name=name: make(name))
    assert len(made) == so_far
    await cache.get("a", lambda: make("a"))  # had to go, for b and c
    assert made[so_far:] == ["a"]
    cache.close()


async def test_a_failure_is_not_kept() -> None:
    cache = RenderCache("thing", max_bytes=100, at_once=1, waiting=1)

    def fail() -> bytes:
        raise CorruptMediaError("x", "broken", "whole")

    with pytest.raises(CorruptMediaError):
        await cache.get("a", fail)
    assert await cache.get("a", lambda: b"whole") == b"whole"
    cache.close()


def test_an_animation_of_many_frames_is_not_decoded_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    head = b"GIF89a" + bytes((1, 0, 1, 0, 0xF0, 0, 0)) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\x04\x01\0\0\0" + b"\x2c\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"
    path = tmp_path / "long.gif"
    path.write_bytes(head + 100_000 * frame + b";")  # over ten seconds of work
    started_s = time.process_time()
    assert make_poster(str(path), 1e6, 480, timeout_s=0.2).startswith(b"\xff\xd8")
    assert time.process_time() - started_s < 3.0
