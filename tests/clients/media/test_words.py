"""Cues of subtitle files and streams become the words of their windows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from resonance.clients.errors import NotMediaError, TranscriptError
from resonance.clients.media.joined import join_window
from resonance.clients.media.text import split_text
from resonance.clients.media.types import Clip, SampledBy, SegmentInput
from resonance.clients.media.video import VideoWindow
from resonance.clients.media.windows import Windows
from resonance.clients.media.words import Cue, read_cues, words_by_window
from tests.clients.media.synthetic import SRT

ReadAll = Callable[..., list[SegmentInput]]


def test_words_count_where_they_are_spoken() -> None:
    cues = [Cue(1, 3, "one two three"), Cue(7, 9, "four five six seven"), Cue(20, 21, "eight")]
    windows = dict(words_by_window(cues, 8.0))
    assert {i: w.text for i, w in windows.items()} == {
        0: "one two three four five six seven",
        1: "four five six seven",
        2: "eight",
    }
    # half of the second cue lies in each of its windows
    rates = [w.words_per_second(8.0 * i, 8.0 * i + 8) for i, w in windows.items()]
    assert rates == pytest.approx([(3 + 2) / 8, 2 / 8, 1 / 8])
    assert [w.end_s for w in windows.values()] == [8.0, 9.0, 21.0]


def test_windows_rise_even_where_cues_do_not() -> None:
    cues = [Cue(17, 18, "late"), Cue(1, 2, "early"), Cue(30, 31, "last")]
    assert [i for i, _ in words_by_window(cues, 8.0)] == [2, 3]


def test_a_cue_without_end_in_sight_fills_few_windows() -> None:
    assert len(list(words_by_window([Cue(0, 1e9, "for ever")], 8.0))) < 20


def test_a_subtitle_file_alone_is_a_title_with_a_clock(read_all: ReadAll, tmp_path: Path) -> None:
    path = tmp_path / "talk.srt"
    path.write_text(SRT)
    segments = read_all(path)
    assert [(s.index, s.start_s, s.end_s) for s in segments] == [
        (0, 0.0, 8.0),
        (1, 8.0, 9.0),
        (2, 16.0, 21.0),
    ]
    assert segments[0].text == "one two three four five six seven"
    assert segments[0].words_per_second == pytest.approx(5 / 8)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(SRT.replace("one", "één").encode(encoding))
    assert read_cues(path)[0].text == "één two three"


def test_quotation_marks_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(SRT.replace("one", "it’s “one”").encode("cp1252"))
    assert read_cues(path)[0].text == "it’s “one” two three"
    path.write_bytes(SRT.encode().replace(b"one", b"\x81"))  # no character of cp1252
    assert read_cues(path)[0].text == "\x81 two three"


@pytest.mark.parametrize("text", ["", "nothing of the kind", "1\n00:00:xx --> 00\nhm\n"])
def test_no_subtitles_is_a_typed_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.srt"
    path.write_text(text)
    with pytest.raises(TranscriptError, match="expected subtitles") as caught:
        read_cues(path)
    assert "\n" not in str(caught.value)


def test_embedded_subtitles(read_all: ReadAll, media: Path) -> None:
    [segment] = read_all(media / "video" / "people_dark_room_embedded_subs.m4v")
    assert segment.text == "This is a test subtitle. AWESOME FIXTURE MOVIE Nice."
    assert segment.end_s == pytest.approx(7.4768125)
    assert segment.words_per_second == pytest.approx(9 / 7.4768125)


def test_words_of_a_short_window_count_by_its_length_and_those_after_its_end_do_not() -> None:
    seen = VideoWindow(
        Clip("h264", b"", 8, 8, 0, (1, 1), (), 4), SampledBy.KEYFRAMES, (0.0,), None, None, 2.0
    )
    ((_, said),) = words_by_window([Cue(1, 3, "one two"), Cue(5, 6, "late")], 8.0)
    segment = join_window(Windows(8.0), 0, seen, None, said)
    assert segment is not None
    assert segment.words_per_second == pytest.approx(1 / 2)
    alone = join_window(Windows(8.0), 0, replace(seen, end_s=0.0), None, said)  # it tells no duration
    assert alone is not None
    assert alone.words_per_second == pytest.approx(3 / 8)


def test_sidecar_and_embedded_stream_agree(read_all: ReadAll, media: Path) -> None:
    movie = media / "video" / "space_webb_telescope_cleanroom.mp4"
    sidecar = media / "subtitles" / "space_webb_telescope_cleanroom.en.srt"
    embedded, beside = read_all(movie), read_all(movie, transcript=sidecar)
    assert [s.text for s in embedded] == [s.text for s in beside]


def test_every_subtitle_file(media: Path) -> None:
    for path in sorted((media / "subtitles").glob("*.[sv][rt]t")):
        cues = read_cues(path)
        assert cues, path.name
        assert all(c.end_s >= c.start_s and c.text for c in cues), path.name


@pytest.mark.parametrize("text", ["word " * 900, "犬" * 3000, "a" * 5000, "один два три " * 300, "x"])
@pytest.mark.parametrize("counted", ["bytes", "words and characters"])
def test_pieces_of_text_stay_within_the_limit(text: str, counted: str) -> None:
    def count(piece: str) -> int:  # a tokenizer: one token for each four characters of a word
        return 2 + sum(-(-len(word) // 4) for word in piece.split())

    size = (lambda p: len(p.encode()) + 2) if counted == "bytes" else count
    pieces = list(split_text(text, 256, None if counted == "bytes" else count))
    assert all(size(p) <= 256 for p in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert sum(size(p) for p in pieces[:-1]) >= 0.9 * 256 * (len(pieces) - 1)  # and none is needlessly short


def test_a_long_unbroken_text_is_cut_in_linear_time() -> None:
    assert len(list(split_text("犬" * 400_000, 256))) > 4000


def test_words_of_a_long_text_are_not_all_held_at_once() -> None:
    text = "ab " * 300_000
    tracemalloc.start()
    try:
        assert next(split_text(text, 256)) == " ".join(["ab"] * 84)  # 3 bytes each, and two special tokens
        assert tracemalloc.get_traced_memory()[1] < len(text) / 2
    finally:
        tracemalloc.stop()


def test_a_text_file_has_no_clock(read_all: ReadAll, tmp_path: Path) -> None:
    path = tmp_path / "article.md"
    path.write_text("word " * 120)
    segments = read_all(path)
    assert [(s.index, s.start_s, s.end_s) for s in segments] == [
        (i, None, None) for i in range(len(segments))
    ]
    assert len(segments) == 3
    path.write_bytes(b"\xff\xfe\x00broken")
    with pytest.raises(NotMediaError):
        read_all(path)
