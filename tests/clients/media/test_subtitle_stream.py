"""Subtitles inside a container that are far between: what is around them neither waits nor stalls."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.subtitle_stream import CUES_LATE_S
from resonance.clients.media.types import Limits, SegmentInput
from resonance.clients.media.words import Cue, Reached, words_as_known
from tests.clients.media.synthetic import sound, with_subtitles

Open = Callable[..., MediaReader]
ReadAll = Callable[..., list[SegmentInput]]
FAR_BETWEEN = """1
00:00:01,000 --> 00:00:02,000
hello there

2
00:03:09,000 --> 00:03:10,000
late words
"""

STYLES = (
    b"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name\nStyle: Default\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


@pytest.fixture(scope="module")
def sparse() -> bytes:
    """200 s of sound in 19 MB, and a cue at 1 s and at 189 s."""
    noise = np.random.default_rng(6).normal(0, 0.1, 200 * 48_000).astype(np.float32)
    heard = sound(noise, rate_hz=48_000, container="matroska")
    return with_subtitles(heard, ("srt", FAR_BETWEEN, Disposition.default))


class _Slow(io.BytesIO):
    """Gives little at a time, and each time late. `furthest`: up to where bytes were read."""

    def __init__(self, data: bytes, *, pause_s: float, most_bytes: int) -> None:
        super().__init__(data)
        self._pause_s, self._most_bytes = pause_s, most_bytes
        self.furthest = 0

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(self._pause_s)
        data = super().read(size if size is None or size < 0 else min(size, self._most_bytes))
        self.furthest = max(self.furthest, self.tell())
        return data


def test_looking_for_the_next_cue_is_no_stall(open_title: Open, sparse: bytes) -> None:
    timeout_s = 0.4
    reads = 60
    source = _Slow(sparse, pause_s=5 * timeout_s / reads, most_bytes=-(-len(sparse) // reads))
    with open_title(source, limits=Limits(stall_timeout_s=timeout_s)) as reader:
        segments = list(reader.segments())
    assert [s.index for s in segments] == list(range(25))
    assert {s.index: s.text for s in segments if s.text} == {0: "hello there", 23: "late words"}


def test_segments_come_long_before_the_next_cue(open_title: Open, sparse: bytes) -> None:
    source = _Slow(sparse, pause_s=0.0, most_bytes=len(sparse) // 100)
    with open_title(source) as reader:
        segments = reader.segments()
        first = next(segments)
        time.sleep(0.2)
        assert source.furthest < len(sparse) // 2
        assert [first, *segments][23].text == "late words"


def test_segments_of_an_upload_do_not_wait_for_the_next_cue(open_title: Open, sparse: bytes) -> None:
    source = GrowingSource("film", lambda offset, size: sparse[offset : offset + size])
    source.add(0, len(sparse) // 3)
    gives_up = threading.Timer(5.0, source.close)  # else nobody would, for bytes may come at any time
    gives_up.start()
    with open_title(source) as reader:
        segments = reader.segments()
        assert [next(segments).index for _ in range(4)] == [0, 1, 2, 3]
        gives_up.cancel()
        source.add(0, len(sparse))
        source.end(len(sparse))
        assert [s.text for s in segments if s.text] == ["late words"]


def test_a_cue_that_stands_far_behind_its_time_is_counted(open_title: Open) -> None:
    noise = np.random.default_rng(6).normal(0, 0.1, 60 * 8_000).astype(np.float32)
    media = with_subtitles(
        sound(noise, rate_hz=8_000, container="matroska"),
        ("srt", FAR_BETWEEN, Disposition.default),
        late_s=40.0,
    )
    with open_title(media) as reader:
        said = {s.index: s.text for s in reader.segments() if s.text}
        assert said == {3: "hello there"}  # at 41 s, when the windows up to 31 s were handed out
        assert reader.times.broken == 1


def test_a_cue_from_before_the_titles_start_is_no_damage(open_title: Open) -> None:
    """As where a film was cut, or its pictures begin late."""
    noise = np.random.default_rng(6).normal(0, 0.1, 20 * 8_000).astype(np.float32)
    late = sound(noise, rate_hz=8_000, container="matroska", gaps={0: 1.5})
    with open_title(with_subtitles(late, ("srt", FAR_BETWEEN, Disposition.default))) as reader:
        assert [s.text for s in reader.segments()] == ["hello there", None, None]
        assert reader.times.broken == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be", "utf-16-le"])
def test_timed_text_in_either_of_its_encodings(read_all: ReadAll, encoding: str) -> None:
    """3GPP TS 26.245, 5.17: UTF-8, or UTF-16 that begins with its mark."""
    said = "na\u00efve words"
    text = (said if encoding == "utf-8" else f"\ufeff{said}").encode(encoding)
    packet = av.Packet(len(text).to_bytes(2, "big") + text)
    packet.pts = packet.dts = 500
    packet.duration, packet.time_base = 1000, Fraction(1, 1000)
    output = io.BytesIO()
    heard = sound(np.full(16_000, 0.1, np.float32), rate_hz=8_000)
    with av.open(io.BytesIO(heard)) as read, av.open(output, "w", format="mov") as file:
        track = file.add_stream_from_template(read.streams[0])
        words: Any = file.add_stream("mov_text")
        words.codec_context.subtitle_header = STYLES
        packet.stream = words
        for sounding in read.demux():
            if sounding.size:
                sounding.stream = track
                file.mux(sounding)
        file.mux(packet)
    assert [s.text for s in read_all(output.getvalue())] == [said]


def test_words_are_known_where_pictures_and_sound_have_passed() -> None:
    cues = [Cue(1, 2, "one"), Reached(7.9), Reached(8), Cue(12, 30, "two"), Reached(1e9), Cue(9, 10, "late")]
    known = [(index, words and words.text) for index, words in words_as_known(cues, 8.0)]
    last = int(1e9) // 8
    assert known == [(0, "one"), (1, "two"), (2, "two"), (3, "two"), (last - 1, None), (last, "late")]
    assert CUES_LATE_S >= 10.0  # what FFmpeg's muxers wait for a stream that is behind
