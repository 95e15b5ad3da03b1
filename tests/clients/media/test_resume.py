"""A title read from a later window on gives the very segments that an undisturbed read gives there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resonance.clients.errors import NoModalityError, UsageError
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import SegmentInput
from resonance.clients.media.words import SubtitleFile
from tests.clients.media.same import assert_same
from tests.clients.media.synthetic import even_times, film

ReadAll = Callable[..., list[SegmentInput]]
Open = Callable[..., MediaReader]
#: A film of two windows or more in every codec and container that lasts so long, and sound in every codec.
TITLES = (
    "video/animation_bbb_opening_30s.webm",  # VP9 with a keyframe in 5 s to 10 s
    "video/animation_claymation_man_tree.mp4",
    "video/animation_claymation_man_tree.ogv",
    "video/animation_tos_battle_70s.webm",
    "video/animation_tos_room_robot_av1.webm",
    "video/fixedcam_bottles_on_shelf.mp4",
    "video/people_two_men_headset_office.webm",  # VP8 with one keyframe in 38 s: decoded in order
    "video/space_webb_telescope_cleanroom.mp4",  # with subtitles
    "odd/streams_subtitle_only.mkv",
    "odd/streams_mpegts_testcard.ts",
    "audio/ambience_rain_60s.mp3",
    "audio/music_brahms_strings.ogg",
    "audio/speech_jfk_inaugural.flac",
    "audio/speech_shakespeare_sonnet_1.mp3",  # with subtitles beside it
)


@pytest.mark.parametrize("title", TITLES)
def test_later_windows_are_those_of_an_undisturbed_read(read_all: ReadAll, media: Path, title: str) -> None:
    expected = read_all(media / title)
    count = expected[-1].index + 1
    for k in sorted({count // 2, count - 1, count} - {0}):
        resumed = read_all(media / title, first_index=k)
        assert_same(resumed, [s for s in expected if s.index >= k], f"{title} from {k}")


def test_uniform_sampling_resumes_alike(read_all: ReadAll, media: Path) -> None:
    for title in ("video/fixedcam_bottles_on_shelf.mp4", "video/animation_bbb_opening_30s.webm"):
        expected = read_all(media / title, sampling="uniform")
        for k in (1, 3):
            resumed = read_all(media / title, sampling="uniform", first_index=k)
            assert_same(resumed, expected[k:], f"{title} from {k}")


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
def test_nothing_before_is_decoded(open_title: Open, sampling: str) -> None:
    """100 s with a keyframe every 12 s: whole windows must be decoded, in either sampling."""
    data = film(even_times(100, 10), rate=10, gop=120, options={"preset": "ultrafast", "sc_threshold": "0"})
    with open_title(data, sampling=sampling) as reader:
        expected = list(reader.segments())
    with open_title(data, sampling=sampling, first_index=11) as reader:
        resumed = list(reader.segments())
        assert reader._video is not None
        # the stretch from the keyframe before the last one at 84 s; 88 s of it would be 880 packets
        assert reader._video.packets_decoded <= (100 - 72) * 10
    assert_same(resumed, expected[11:])


def test_a_refreshed_picture_is_whole_again(open_title: Open) -> None:
    """Intra refresh: keyframe packets decode to nothing, and pictures take a period to become whole."""
    refresh = {"preset": "ultrafast", "intra-refresh": "1", "sc_threshold": "0", "bf": "0"}
    data = film(even_times(64, 10), rate=10, gop=20, options=refresh, container="matroska")
    with open_title(data) as reader:
        expected = [reader.decode_segment(s) for s in reader.segments()]
    with open_title(data, first_index=5) as reader:
        for segment in reader.segments():
            frames, before = reader.decode_segment(segment), expected[segment.index]
            assert frames is not None
            assert before is not None
            assert (frames.pixels == before.pixels).all(), segment.index


def test_a_short_tail_is_dropped_all_the_same(read_all: ReadAll) -> None:
    data = film(even_times(16.5, 10), rate=10)
    assert [s.index for s in read_all(data)] == [0, 1]
    assert read_all(data, first_index=2) == []
    assert [s.index for s in read_all(film(even_times(0.5, 10), rate=10))] == [0]  # alone it stays


def test_text_resumes(read_all: ReadAll) -> None:
    text = b"one two three " * 200
    expected = read_all(text, form="text")
    assert len(expected) > 3
    assert_same(read_all(text, form="text", first_index=2), expected[2:])


def test_only_what_is_wanted_is_read(read_all: ReadAll, media: Path) -> None:
    movie = media / "video" / "space_webb_telescope_cleanroom.mp4"
    whole = read_all(movie)
    assert all(s.video and s.pcm and s.text for s in whole)
    for wanted, there in {
        ("visual",): (True, False, False),
        ("audio",): (False, True, False),
        ("transcript",): (False, False, True),
        ("visual", "transcript"): (True, False, True),
    }.items():
        segments = read_all(movie, modalities=wanted)
        assert {(s.video is not None, s.pcm is not None, s.text is not None) for s in segments} == {there}
        assert [s.start_s for s in segments] == [s.start_s for s in whole]  # on the whole title's clock
    with pytest.raises(NoModalityError, match="audio alone; expected visual"):
        read_all(media / "audio" / "foley_crunching.mp3", modalities=["visual"])
    with pytest.raises(NoModalityError, match="visual alone; expected audio"):
        read_all(media / "image" / "bird_puffin.jpg", modalities=["audio"])
    with pytest.raises(NoModalityError, match="transcript alone"):
        read_all(b"words", form="text", modalities=["audio"])
    with pytest.raises(UsageError, match="one or more of visual, audio, transcript"):
        read_all(movie, modalities=["smell"])
    with pytest.raises(UsageError, match="expected one of encoded, text, srt, vtt"):
        read_all(movie, form="pdf")


def test_subtitles_as_bytes(read_all: ReadAll, media: Path) -> None:
    path = media / "subtitles" / "mixed_farm_animal_sounds.en.vtt"
    sound = media / "audio" / "mixed_farm_animal_sounds.mp3"
    given = SubtitleFile("vtt", path.read_bytes())
    assert_same(read_all(sound, transcript=given), read_all(sound, transcript=path))
    assert_same(read_all(path.read_bytes(), form="vtt"), read_all(path))
