"""What of a file could not be read is told: packets that do not decode, and an end that is not there."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from resonance.clients.errors import CorruptMediaError, TranscriptError
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import Damage, SampledBy
from resonance.clients.media.words import SubtitleFile
from tests.clients.media.synthetic import even_times, film, sound, with_subtitles
from tests.lengths import short_and_whole
from tests.real_media import rows_of

Opened = Callable[..., MediaReader]

CUES = "1\n00:00:01,000 --> 00:00:02,000\nFirst words.\n\n2\n00:00:50,000 --> 00:00:51,000\nLast words.\n"


#: Room for the index at the start of an MP4; that of 200 pictures fits.
INDEX_BYTES = 6_000


def damage_of(open_title: Opened, source: bytes | Path, **options: object) -> Damage:
    with open_title(source, **options) as reader:
        for _ in reader.segments():
            pass
        return Damage.of(reader.times)


def whole(container: str, seconds: float, start_s: float = 0.0) -> bytes:
    options = {"moov_size": str(INDEX_BYTES)} if container == "mp4" else None  # the index first
    return film(even_times(seconds, 10.0, start_s), container=container, rate=10, container_options=options)


def half(data: bytes) -> bytes:
    """Cut off in the middle of what follows an MP4's index."""
    return data[: INDEX_BYTES + (len(data) - INDEX_BYTES) // 2]


@pytest.mark.parametrize("container", ["mp4", "matroska", "flv"])
@pytest.mark.parametrize("start_s", [0.0, 100.0])
def test_of_a_whole_film_nothing_is_missing(open_title: Opened, container: str, start_s: float) -> None:
    assert damage_of(open_title, whole(container, 20.0, start_s)) == Damage()


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_of_a_film_that_was_cut_off_it_is_told_what_is_missing(open_title: Opened, container: str) -> None:
    damage = damage_of(open_title, half(whole(container, 20.0)))
    assert 3.0 < damage.missing_s < 14.0
    (line,) = Damage(missing_s=damage.missing_s).remarks("film")
    assert line == f"film: its last {damage.missing_s:.1f} s are not there, as if it were cut off"


def test_a_film_of_which_the_index_alone_is_there_is_a_broken_one(open_title: Opened) -> None:
    with pytest.raises(CorruptMediaError, match="not one packet that can be used"):
        damage_of(open_title, whole("mp4", 20.0)[: INDEX_BYTES + 100])


def test_sound_that_was_cut_off_is_told(open_title: Opened) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 30 * 44_100).astype(np.float32)
    data = sound(samples, codec="flac", container="flac")
    assert damage_of(open_title, data) == Damage()
    damage = damage_of(open_title, data[: len(data) // 3])
    assert 18.0 < damage.missing_s < 22.0


def test_words_that_go_on_after_the_pictures_are_no_end_of_them(open_title: Opened) -> None:
    data = with_subtitles(whole("mp4", 20.0), ("srt", CUES, Disposition.default))
    assert damage_of(open_title, data) == Damage()


def test_of_a_part_of_the_streams_no_end_is_stated(open_title: Opened) -> None:
    data = half(whole("mp4", 20.0))
    assert damage_of(open_title, data).missing_s > 4.0
    assert damage_of(open_title, data, modalities=["visual"]).missing_s == 0.0


class Pipe(io.RawIOBase):
    """Takes what is written, and cannot go back."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def test_a_length_that_is_reckoned_from_the_bit_rate_is_not_stated(open_title: Opened) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 60 * 44_100).astype(np.float32)
    pipe = Pipe()
    mp3 = io.BytesIO(sound(samples, codec="mp3", container="mp3"))
    with av.open(mp3) as read, av.open(pipe, "w", format="matroska") as file:
        stream = file.add_stream_from_template(read.streams[0])
        for packet in read.demux():
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    with open_title(bytes(pipe.data)) as reader:
        assert reader.info.duration_s is not None
        assert reader.info.duration_s > 61
    assert damage_of(open_title, bytes(pipe.data)) == Damage()


def test_what_came_late_is_told() -> None:
    (line,) = Damage(late_frames=1_200, late_sound_s=2.5, late_cues=3).remarks("cam")
    assert line.startswith("cam: 1,200 frames, 2.5 s of sound, 3 cues came after their windows were complete")


def test_packets_that_do_not_decode_are_counted(open_title: Opened) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 20 * 44_100).astype(np.float32)
    data = bytearray(sound(samples, codec="aac", container="mp4"))
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    damage = damage_of(open_title, bytes(data))
    assert damage.unreadable_packets > 10
    assert damage.missing_s == 0.0
    (line,) = damage.remarks("song")
    assert line.startswith(f"song: {damage.unreadable_packets:,} packets of it could not be read")


@pytest.mark.parametrize("whole", short_and_whole(False, True))
def test_real_files_that_are_whole_have_no_damage_and_cut_ones_have(
    open_title: Opened, media: Path, whole: bool
) -> None:
    for path in [media / row["path"] for row in rows_of(media, "video", whole=whole)]:
        assert damage_of(open_title, path) == Damage(), path
    for name in ("trunc_30pct.flac", "trunc_half.webm", "trunc_index_first_60pct.mp4"):
        assert damage_of(open_title, media / "odd" / name).missing_s >= 2.0, name


def test_subtitles_are_refused_where_nothing_has_a_time_for_them(open_title: Opened, tmp_path: Path) -> None:
    text = tmp_path / "article.txt"
    text.write_text("Words.")
    picture = tmp_path / "still.png"
    Image.new("RGB", (32, 32), (200, 30, 30)).save(picture)
    for path, kind in ((text, "a text"), (picture, "a picture")):
        with pytest.raises(
            TranscriptError, match=f"subtitles for {kind}; expected them for a video or sound"
        ):
            open_title(path, transcript=SubtitleFile("srt", CUES.encode(), "words"))


@pytest.mark.parametrize("container", ["mpegts", "ogg", "matroska"])
def test_what_follows_a_hole_is_read(open_title: Opened, container: str) -> None:
    """Where a recorder lost its disk for a while, or a copy was never filled."""
    if container == "ogg":
        tone = (0.4 * np.sin(np.arange(40 * 48_000) * 0.05)).astype(np.float32)
        data = sound(tone, rate_hz=48_000, codec="libopus", container="ogg")
    else:
        data = whole(container, 40.0)
    cut = len(data) // 2
    with open_title(data[:cut] + bytes(1_000_000) + data[cut + len(data) // 4 :]) as reader:
        segments = list(reader.segments())
    assert (segments[-1].index, segments[-1].end_s) == (4, pytest.approx(40.0, abs=0.2))
    assert segments[-1].sampled_by in (SampledBy.KEYFRAMES, SampledBy.NONE)  # no earlier picture that stands
