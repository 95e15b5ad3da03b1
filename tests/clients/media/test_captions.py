"""Words of subtitle files: what is markup, comment or name of a cue is no word, and what is a word stays."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from av.stream import Disposition

from resonance.clients.media.captions import ass_words, caption_words, timed_texts, unrolled
from resonance.clients.media.types import SegmentInput
from tests.clients.media.synthetic import even_times, film, with_subtitles

ReadAll = Callable[..., list[SegmentInput]]
VTT = """WEBVTT - title
X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000

STYLE
::cue { color: red }

NOTE this is a comment
on two lines

intro
00:00:01.000 --> 00:00:03.000 align:start position:0%
<v Bob>Tom &amp; Jerry&nbsp;run</v>

NOTE reviewer: remove this later

00:04.000 --> 00:05.500
short form
of two lines

cue-three
00:00:08.000 --> 00:00:09.000
last
next
100:00:10.000 --> 100:00:11.000
no empty line before

NOTE trailing comment
"""
SRT = """1
00:00:01,000 --> 00:00:02,000
It was
1984

2
00:00:03.5 --> 00:00:4,05  X1:100 X2:200

after an empty line

then more

3
-00:00:01,000 --> 100:00:06,000
42

4
00:00:xx,000 --> 00:00:09,000
a broken time belongs to the cue before

5
00:00:07,000 --> 00:00:08,000
of the last cue
1985
"""
YOUTUBE = """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.000 align:start position:0%
\x20
we<00:00:00.500><c> are</c><00:00:00.800><c.colorE5E5E5> here</c>
"""


def _read(text: str, form: str) -> list[tuple[float, float, str]]:
    return [(start_s, end_s, caption_words(words)) for start_s, end_s, words in timed_texts(text, form)]


def test_webvtt_is_words_without_comments_and_names() -> None:
    expected = [
        (1.0, 3.0, "Tom & Jerry run"),
        (4.0, 5.5, "short form of two lines"),
        (8.0, 9.0, "last next"),
        (360_010.0, 360_011.0, "no empty line before"),
    ]
    assert _read(VTT, "vtt") == expected
    assert _read(VTT.replace("\n", "\r\n"), "srt") == expected  # what begins as WebVTT is that


def test_times_within_words_are_no_line_of_times() -> None:
    assert _read(YOUTUBE, "vtt") == [(0.0, 2.0, "we are here")]


ROLLING = """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.000 align:start position:0%
\x20
so<00:00:00.500><c> we</c><00:00:01.000><c> begin</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
so we begin
\x20

00:00:02.010 --> 00:00:05.000 align:start position:0%
so we begin
with<00:00:03.000><c> the</c><00:00:03.500><c> end</c>

00:00:05.000 --> 00:00:05.010 align:start position:0%
with the end
\x20

00:00:05.010 --> 00:00:07.000 align:start position:0%
with the end
of<00:00:06.000><c> it</c>
"""


def test_lines_of_captions_that_roll_count_once() -> None:
    found = [(start_s, caption_words(text)) for start_s, _, text in unrolled(timed_texts(ROLLING, "vtt"))]
    assert found == [(0.0, "so we begin"), (2.01, "with the end"), (5.01, "of it")]


def test_what_is_said_twice_counts_twice() -> None:
    said = [(0.0, 1.0, "No!"), (1.0, 2.0, "No!"), (2.0, 3.0, "Well.\nNo!"), (4.0, 5.0, "No!\nNever!")]
    assert list(unrolled(said)) == said


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_subrip_keeps_numbers_that_are_words(newline: str) -> None:
    assert _read(SRT.replace("\n", newline), "srt") == [
        (1.0, 2.0, "It was 1984"),
        (3.5, 4.05, "after an empty line then more"),
        (-1.0, 360_006.0, "42 4 00:00:xx,000 --> 00:00:09,000 a broken time belongs to the cue before"),
        (7.0, 8.0, "of the last cue 1985"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"{\b1}a<font color='red'>b</font>\Nc", "ab c"),
        ("un<i>believ</i>able < i >yes</ i >", "unbelievable yes"),
        ("a < b and c > d {really} <3", "a < b and c > d {really} <3"),
        ("one<br/>two<v Bob>three", "one two three"),
        ("AT&T &copy; &#39;x&#x27; &copy &unknown;", "AT&T © 'x' &copy &unknown;"),
        (r"{\an8}{\pos(1,2)}up\hhere", "up here"),
        (r"a{\p1}m 0 0 l 100 0{\p0}b{\fs20\p2}m 1 1", "ab"),
        (r"one\Ntwo\nthree", "one two three"),
    ],
)
def test_markup_is_no_word(text: str, words: str) -> None:
    assert caption_words(text) == words


def test_braces_of_ass_are_settings_or_comments() -> None:
    assert ass_words(r"a{a comment}b \{c\} {\i1}d") == "ab {c} d"


@pytest.mark.parametrize(
    ("head", "piece"),
    [("", piece) for piece in ("{", "<", "&", r"{\p1", "<a", "< ", "0:")]
    + [("<", " "), ("</", " "), ("<b", " ")],
)
def test_hostile_markup_takes_linear_time(head: str, piece: str) -> None:
    text = head + piece * (200_000 // len(piece))
    started_s = time.process_time()
    caption_words(text)
    ass_words(text)
    list(timed_texts(text, "srt"))
    assert time.process_time() - started_s < 2.0


ASS = r"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\pos(1,2)}Hello\hthere, world\Nnext
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\p1}m 0 0 l 100 0 100 100 0 100{\p0}
Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,a comment
"""


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("ass", ASS, "Hello there, world next"),
        ("srt", "1\n00:00:01,000 --> 00:00:02,000\na < b and {c} > <i>d</i>\n", "a < b and {c} > d"),
        ("webvtt", VTT[: VTT.index("NOTE trailing")], "Tom & Jerry run short form of two lines"),
    ],
)
def test_embedded_subtitles_are_read_as_files_are(
    read_all: ReadAll, form: str, text: str, words: str
) -> None:
    media = with_subtitles(film(even_times(7, 5), rate=5), (form, text, Disposition.default))
    assert [s.text for s in read_all(media)] == [words]
