"""Reels made of films with known cuts, flashes and beeps, and of real ones, played back and looked at."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reel import ReelMaker, ReelOptions
from resonance.clients.discovery.reel_list import Reel, list_path
from resonance.clients.discovery.reel_media import Kind
from resonance.clients.discovery.reel_pictures import ReelFormat
from resonance.clients.discovery.search import Searcher, SegmentHit
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import UsageError
from resonance.clients.media.types import Limits
from resonance.loadtest.reel.films import (
    FILMS,
    SOUND_RATE_HZ,
    Film,
    Played,
    number_of,
    play,
    write_film,
)
from resonance.loadtest.reel.library import Part, likeness_query, write_library
from resonance.loadtest.reel.measure import moved_apart_s
from resonance.space.scores import Weights
from tests.clients.discovery.made import DESCRIPTOR
from tests.lengths import short_and_whole
from tests.real_media import rows_of

SMALL = ReelFormat(320, 180, 25)
Titles = Sequence[tuple[str, str, Sequence[Part]]]


def reel_of(folder: Path, titles: Titles, options: ReelOptions | None = None) -> Reel:
    """A reel at `folder`/reel.mp4 of titles (media id, uri, segments)."""
    store = write_library(str(folder / "store"), titles, DESCRIPTOR)
    with closing(open_library(store)) as library:
        maker = ReelMaker(
            Searcher(library, DESCRIPTOR),
            likeness_query(DESCRIPTOR),
            Weights(),
            options or ReelOptions(seconds=12, clip_s=4, diversity=0, form=SMALL),
        )
        return maker.write(folder / "reel.mp4", "a test")


def clip_pictures(reel: Reel, played: Played, at: int) -> list[np.ndarray]:
    place = reel.clips[at].place
    return [p for t, p in played.pictures if place.start_s - 1e-6 <= t < place.end_s - 1e-6]


def check_whole(reel: Reel, played: Played) -> None:
    """Times, lengths and lists agree, and FFmpeg's own command has nothing to say."""
    frames = round(reel.seconds * reel.form.fps)
    assert [round(t * reel.form.fps, 4) for t, _ in played.pictures] == list(range(frames))
    assert abs(played.sound.shape[1] - frames * reel.form.samples_per_frame) <= 1024  # a frame of AAC
    for stamps in played.packet_times_s.values():
        assert all(a < b for a, b in itertools.pairwise(stamps))
    listed = json.loads(list_path(reel.path).read_text(encoding="utf-8"))
    assert [c["media_id"] for c in listed["clips"]] == [c.facts.media_id for c in reel.clips]
    edges = [0.0, *(c["reel_end_s"] for c in listed["clips"])]
    assert [c["reel_start_s"] for c in listed["clips"]] == edges[:-1]
    assert edges[-1] == listed["duration_s"] == pytest.approx(reel.seconds)
    for clip, (start_s, end_s, name) in zip(reel.clips, played.chapters, strict=True):
        assert (start_s, end_s) == (
            pytest.approx(clip.place.start_s, abs=1e-3),
            pytest.approx(clip.place.end_s, abs=1e-3),
        )
        assert name.startswith(clip.facts.media_id)
    said = subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-nostdin",
            "-v",
            "error",
            "-xerror",
            "-i",
            str(reel.path),
            "-f",
            "null",
            "-",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stderr == ""
    assert [p.name for p in reel.path.parent.iterdir() if p.name.startswith(".")] == []


@pytest.fixture(scope="module", params=FILMS)
def of_one_film(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Film, Reel, Played]:
    """A film of every kind, and a reel of two of its segments."""
    film, folder = FILMS[request.param], tmp_path_factory.mktemp("reel")
    path = write_film(folder / f"film.{film.container}", film)
    parts = [Part(0.9, 0, 8), Part(0.8, 8, 16), Part(0.1, 16, 20)]
    reel = reel_of(folder, [("film", str(path), parts)])
    return film, reel, play(reel.path)


def test_a_reel_is_whole(of_one_film: tuple[Film, Reel, Played]) -> None:
    _, reel, played = of_one_film
    assert len(reel.clips) == 2
    check_whole(reel, played)


def test_clips_begin_and_end_with_shots_to_the_frame(of_one_film: tuple[Film, Reel, Played]) -> None:
    film, reel, played = of_one_film
    cuts = {0.0, *film.cuts_s}
    firsts = {film.frame_times_s.index(t) for t in cuts}
    for at, clip in enumerate(reel.clips):
        assert clip.start_at_shot
        assert clip.end_at_shot
        numbers = [number_of(p) for p in clip_pictures(reel, played, at)]
        first = min(firsts, key=lambda n: abs(n - numbers[0]))
        # a frame of the reel may begin on the second frame of a source of twice its rate, and never before
        assert 0 <= film.frame_times_s[numbers[0]] - film.frame_times_s[first] < 1 / SMALL.fps
        after = min(n for n in [*firsts, len(film.frame_times_s)] if n > numbers[-1])
        assert after - numbers[-1] <= np.ceil(film.fps / SMALL.fps)
        assert numbers == sorted(numbers)
        shown = {film.shot_at(film.frame_times_s[n]) for n in numbers}
        assert shown == set(range(min(shown), max(shown) + 1))


def test_pictures_keep_their_time_within_a_frame_whatever_the_rate_of_the_source(tmp_path: Path) -> None:
    film = FILMS["variable"]
    path = write_film(tmp_path / "film.mp4", film)
    reel = reel_of(
        tmp_path, [("film", str(path), [Part(0.9, 4, 12)])], ReelOptions(seconds=6, clip_s=6, form=SMALL)
    )
    played = play(reel.path)
    clip = reel.clips[0]
    late_s = []
    for time_s, picture in played.pictures:
        in_source_s = clip.source.start_s + time_s - clip.place.start_s
        number = number_of(picture)
        late_s.append(in_source_s - film.frame_times_s[number])
        until_s = film.frame_times_s[number + 1]
        assert film.frame_times_s[number] - 0.5 / SMALL.fps - 2e-3 <= in_source_s <= until_s
    assert min(late_s) >= -0.5 / SMALL.fps - 2e-3


def test_flash_and_beep_stay_together_within_a_frame(of_one_film: tuple[Film, Reel, Played]) -> None:
    film, reel, played = of_one_film
    moved = moved_apart_s({"film": film}, reel, played)
    assert len(moved) >= 7
    assert max(map(abs, moved)) <= 1 / SMALL.fps, sorted(moved)


def test_nothing_drifts_over_many_joins(tmp_path: Path) -> None:
    films = {name: FILMS[name] for name in ("60 a second", "24000/1001 a second", "mpeg4 in AVI")}
    parts = [Part(0.9 - start / 100, start, start + 5.0) for start in (0.0, 5.0, 10.0, 15.0)]
    titles = []
    for at, (name, film) in enumerate(films.items()):
        path = write_film(tmp_path / f"{at}.{film.container}", film)
        titles.append((name, str(path), parts))
    options = ReelOptions(seconds=40, clip_s=2.7, per_title=4, diversity=0.5, form=SMALL)
    reel = reel_of(tmp_path, titles, options)
    assert len(reel.clips) == 12
    moved = moved_apart_s(films, reel, play(reel.path))
    assert len(moved) > 20
    assert max(map(abs, moved)) <= 1 / SMALL.fps, sorted(moved)


def test_there_are_no_clicks_at_joins(tmp_path: Path) -> None:
    titles = []
    for at, shots in enumerate([(3.1, 4.0, 5.0), (2.3, 3.7, 6.0), (4.9, 3.3, 3.8)]):
        path = write_film(tmp_path / f"{at}.mp4", Film(shots, tone=0.5))
        titles.append((f"film {at}", str(path), [Part(0.9 - at / 10, 0, 8)]))
    reel = reel_of(tmp_path, titles)
    sound = play(reel.path).sound[0]
    steps = np.abs(np.diff(sound))
    joins = [round(c.place.start_s * SOUND_RATE_HZ) for c in reel.clips[1:]]
    assert len(joins) == 2
    middle = np.concatenate([steps[j + 20_000 : j + 60_000] for j in [0, *joins]])
    for join in joins:
        assert steps[join - 2_000 : join + 2_000].max() < 1.1 * middle.max()
        assert np.abs(sound[join - 24 : join + 24]).max() < 0.05  # it is quiet where it is cut
    loudest = [np.abs(sound[j + 20_000 : j + 60_000]).max() for j in [0, *joins]]
    assert loudest == pytest.approx([0.5] * 3, abs=0.05)


def test_a_clip_that_cannot_be_read_is_named_and_the_next_best_takes_its_place(tmp_path: Path) -> None:
    good = [write_film(tmp_path / f"good {at}.mp4", Film((3.0, 4.0, 3.0))) for at in range(2)]
    (tmp_path / "text.mp4").write_text("not a film")
    whole = good[0].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    titles = [
        ("gone", str(tmp_path / "gone.mp4"), [Part(0.95)]),
        ("good 0", str(good[0]), [Part(0.9)]),
        ("text", str(tmp_path / "text.mp4"), [Part(0.85)]),
        ("cut", str(tmp_path / "cut.mp4"), [Part(0.8)]),
        ("no store", "nowhere://films/a.mp4", [Part(0.75)]),
        (
            "an article",
            str(tmp_path / "an article.txt"),
            [Part(0.7, None, None, present=(False, False, True))],
        ),
        ("good 1", str(good[1]), [Part(0.6)]),
    ]
    reel = reel_of(tmp_path, titles)
    assert [c.facts.media_id for c in reel.clips] == ["good 0", "good 1"]
    assert [title.facts.media_id for title in reel.left_out] == ["gone", "text", "cut", "no store"]
    assert all(title.facts.uri in title.why for title in reel.left_out)
    check_whole(reel, play(reel.path))
    listed = json.loads((tmp_path / "reel.json").read_text())
    assert [t["media_id"] for t in listed["left_out"]] == ["gone", "text", "cut", "no store"]


def test_text_alone_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a store of many articles would be searched again and again, past the nearest of them."""
    path = write_film(tmp_path / "film.mp4", Film((3.0, 4.0, 3.0)))
    words = (False, False, True)
    articles = [
        (f"article {at}", str(tmp_path / f"{at}.txt"), [Part(0.9 - at / 1000, None, None, present=words)])
        for at in range(40)
    ]
    asked, find = [], Searcher.find_segments

    def counted(searcher: Searcher, *args: Any, **options: Any) -> list[SegmentHit]:
        asked.append(find(searcher, *args, **options))
        return asked[-1]

    monkeypatch.setattr(Searcher, "find_segments", counted)
    reel = reel_of(tmp_path, [*articles, ("film", str(path), [Part(0.5)])])
    assert [clip.facts.media_id for clip in reel.clips] == ["film"]
    assert [[hit.facts.media_id for hit in hits] for hits in asked] == [["film"]]


def test_nothing_is_written_where_nothing_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "reel.mp4").write_bytes(b"an earlier reel")
    reel = reel_of(tmp_path, [("gone", str(tmp_path / "gone.mp4"), [Part(0.9)])])
    assert reel.clips == ()
    assert len(reel.left_out) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"store", "reel.mp4"}
    assert (tmp_path / "reel.mp4").read_bytes() == b"an earlier reel"


def test_a_reel_takes_the_place_of_the_file_that_a_link_names(tmp_path: Path) -> None:
    path, there = write_film(tmp_path / "film.mp4", Film((3.0, 4.0, 3.0))), tmp_path / "kept" / "there.mp4"
    there.parent.mkdir()
    there.touch(0o640)
    (tmp_path / "reel.mp4").symlink_to(there)
    reel = reel_of(tmp_path, [("film", str(path), [Part(0.9, 3, 7)])])
    assert reel.path.is_symlink()
    assert there.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in there.parent.iterdir()] == ["there.mp4"]
    check_whole(reel, play(there))


def test_what_ends_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film((3.0, 4.0, 3.0)))
    store = write_library(
        str(tmp_path / "store"), [("film", str(path), [Part(0.9, 0, 4), Part(0.8, 4, 10)])], DESCRIPTOR
    )

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    options = ReelOptions(seconds=8, form=SMALL)
    with closing(open_library(store)) as library:
        searcher = Searcher(library, DESCRIPTOR)
        maker = ReelMaker(searcher, likeness_query(DESCRIPTOR), Weights(), options, on_clip=interrupted)
        with pytest.raises(KeyboardInterrupt):
            maker.write(tmp_path / "reel.mp4", "a test")
    assert {p.name for p in tmp_path.iterdir()} == {"store", "film.mp4"}


def test_at_most_so_many_clips_of_a_title_and_none_overlap(tmp_path: Path) -> None:
    many = write_film(tmp_path / "many.mp4", Film((4.0,) * 8))
    one = write_film(tmp_path / "one.mp4", Film((3.0, 4.0, 3.0)))
    parts = [Part(0.95 - at / 100, 2.0 * at, 2.0 * at + 8) for at in range(12)]
    titles = [("many", str(many), parts), ("same file", str(many), parts), ("one", str(one), [Part(0.1)])]
    options = ReelOptions(seconds=60, per_title=3, diversity=0, form=SMALL)
    reel = reel_of(tmp_path, titles, options)
    names = [c.facts.media_id for c in reel.clips]
    assert names.count("many") == names.count("same file") == 3
    assert names.count("one") == 1
    spans = sorted((c.source for c in reel.clips if c.facts.media_id != "one"), key=lambda s: s.start_s)
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in itertools.pairwise(spans))


def test_a_film_that_the_library_has_twice_is_shown_once(tmp_path: Path) -> None:
    film, other = (write_film(tmp_path / f"{name}.mp4", Film((8.0,))) for name in ("film", "other"))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(film.read_bytes())
    # a likeness of 0.995 puts any two segments at a cosine of about 0.99, one of 0.8 at about 0.64
    titles = [(path.stem, str(path), [Part(likeness)]) for path, likeness in ((film, 0.995), (copy, 0.994))]
    reel = reel_of(tmp_path, [*titles, ("other", str(other), [Part(0.8)])])
    assert [clip.facts.media_id for clip in reel.clips] == ["film", "other"]


def test_a_title_of_hundreds_of_good_segments_does_not_hide_the_others(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film((4.0, 4.0)))
    parts = [Part(0.95 - at / 10_000) for at in range(700)]
    titles = [
        ("many", str(path), parts),
        ("one", str(write_film(tmp_path / "one.mp4", Film((8.0,)))), [Part(0.1)]),
    ]
    reel = reel_of(tmp_path, titles, ReelOptions(seconds=60, per_title=1, diversity=0.3, form=SMALL))
    assert [c.facts.media_id for c in reel.clips] == ["many", "one"]


def test_filters_and_the_number_of_clips_hold(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film((4.0,) * 3))
    titles = [(f"film {at}", str(path), [Part(0.9 - at / 10, 4.0 * at, 4.0 * at + 4)]) for at in range(3)]
    only = Filter(excluded=frozenset({"film 0"}))
    reel = reel_of(tmp_path, titles, ReelOptions(seconds=60, most_clips=1, only=only, form=SMALL))
    assert [c.facts.media_id for c in reel.clips] == ["film 1"]


def test_a_turned_film_is_upright_and_one_with_wide_samples_is_wide(tmp_path: Path) -> None:
    turned = write_film(tmp_path / "turned.mp4", Film((8.0,), rotation_deg=90))
    wide = write_film(tmp_path / "wide.mp4", Film((8.0,), size=(160, 180), aspect=Fraction(2)))
    upright = write_film(tmp_path / "upright.mp4", Film((8.0,)))
    names = {"turned": turned, "wide": wide, "upright": upright}
    reel = reel_of(tmp_path, [(n, str(p), [Part(0.9 - at / 10)]) for at, (n, p) in enumerate(names.items())])
    played = play(reel.path)
    pictures = {c.facts.media_id: clip_pictures(reel, played, at)[20] for at, c in enumerate(reel.clips)}
    # 320x180 turned by a quarter is 180x320, in a box 180 high: 102x180, the rest black
    columns = np.flatnonzero(pictures["turned"].max(axis=(0, 2)) > 40)
    assert (columns[0], columns[-1]) == (
        pytest.approx((320 - 102) / 2, abs=2),
        pytest.approx((320 + 102) / 2 - 1, abs=2),
    )
    inner = pictures["turned"][:, columns[0] : columns[-1] + 1]
    # clockwise: the bar along the lower edge is on the left now; turned back its number is read
    back = np.array(Image.fromarray(np.rot90(inner)).resize((320, 180)))
    assert abs(number_of(back) / 25 - (reel.clips[0].source.start_s + 20 / 25)) <= 1 / 25
    for name in ("wide", "upright"):
        assert pictures[name].max(axis=(0, 2)).min() > 40  # no bars
        number_of(pictures[name])


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_the_tag_of_their_stream(tmp_path: Path, matrix: str, full: bool) -> None:
    red = np.zeros((180, 320, 3), np.uint8)
    red[:] = (200, 60, 40)
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        code, spread = {"bt709": 1, "smpte170m": 6}[matrix], 2 if full else 1
        video.codec_context.colorspace, video.codec_context.color_range = code, spread
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(
                format="yuv420p", dst_colorspace={"bt709": 1, "smpte170m": 5}[matrix], dst_color_range=spread
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    reel = reel_of(tmp_path, [("red", str(tmp_path / "film.mp4"), [Part(0.9, 0, 4)])])
    with av.open(str(reel.path)) as made:
        context = made.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (
            1,
            1,
            1,
            1,
        )
    picture = play(reel.path).pictures[10][1]
    assert np.abs(picture[60:120, 100:220].astype(int) - (200, 60, 40)).max() <= 6


def test_pictures_stand_sounds_have_a_card_and_silence_is_silent(tmp_path: Path) -> None:
    Image.new("RGB", (90, 160), (40, 180, 90)).save(tmp_path / "still.png")
    turned = Image.new("RGB", (160, 90), (180, 90, 40))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(tmp_path / "turned.jpg", exif=exif)
    silent = write_film(tmp_path / "silent.mp4", Film((8.0,), sound=False))
    with av.open(str(tmp_path / "tone.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=22_050, layout="mono")
        tone = (0.4 * 32767 * np.sin(2 * np.pi * 500 * np.arange(22_050 * 8) / 22_050)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 22_050, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    heard, seen = (False, True, False), (True, False, False)
    titles = [
        ("still", str(tmp_path / "still.png"), [Part(0.9, 0.0, 0.0, present=seen)]),
        ("tone", str(tmp_path / "tone.wav"), [Part(0.8, present=heard)]),
        ("silent", str(silent), [Part(0.7, present=seen)]),
        ("turned", str(tmp_path / "turned.jpg"), [Part(0.6, 0.0, 0.0, present=seen)]),
        ("still again", str(tmp_path / "still.png"), [Part(0.5, 0.0, 0.0, present=seen)]),
    ]
    reel = reel_of(tmp_path, titles, ReelOptions(seconds=30, clip_s=3, per_title=1, diversity=0, form=SMALL))
    played = play(reel.path)
    check_whole(reel, played)
    assert [c.kind for c in reel.clips] == [Kind.PICTURE, Kind.SOUND, Kind.VIDEO, Kind.PICTURE]
    assert reel.left_out == ()
    level = []
    for clip in reel.clips:
        low, high = (round(t * SOUND_RATE_HZ) for t in (clip.place.start_s, clip.place.end_s))
        level.append(float(np.abs(played.sound[:, low + 4_000 : high - 4_000]).max()))
    assert level == pytest.approx([0, 0.4, 0, 0], abs=0.02)
    still, card, _, upright = (clip_pictures(reel, played, at)[30] for at in range(4))
    assert np.abs(still[90, 160].astype(int) - (40, 180, 90)).max() <= 6
    assert still[90, 20].max() < 20  # 90x160 in 320x180 has bars
    assert card.min() > 10  # a card, and there is something written on it
    assert (card > 180).any()
    columns = np.flatnonzero(upright.max(axis=(0, 2)) > 60)
    assert columns.size == pytest.approx(180 * 90 / 160, abs=4)


def test_media_over_a_limit_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film((8.0,)))
    Image.new("RGB", (90, 160)).save(tmp_path / "still.png")
    limits = Limits(max_video_pixels=320 * 180 - 1, max_picture_pixels=90 * 160 - 1)
    titles = [("film", str(path), [Part(0.9)]), ("still", str(tmp_path / "still.png"), [Part(0.8, 0.0, 0.0)])]
    reel = reel_of(tmp_path, titles, ReelOptions(seconds=8, form=SMALL, limits=limits))
    assert reel.clips == ()
    assert ["pixels" in title.why for title in reel.left_out] == [True, True]


@pytest.mark.parametrize(
    ("size", "fps"), [("1280", 30), ("1281x720", 30), ("8x8", 30), ("8192x720", 30), ("1280x720", 29)]
)
def test_a_form_that_no_reel_has_is_refused(size: str, fps: int) -> None:
    with pytest.raises(UsageError):
        ReelFormat.parse(size, fps)


def test_another_ending_or_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected \.mp4"):
        list_path(tmp_path / "reel.mkv")
    store = write_library(str(tmp_path / "store"), [("film", "film.mp4", [Part(0.9)])], DESCRIPTOR)
    with closing(open_library(store)) as library:
        maker = ReelMaker(Searcher(library, DESCRIPTOR), likeness_query(DESCRIPTOR), Weights(), ReelOptions())
        with pytest.raises(UsageError, match="its folder is not there"):
            maker.write(tmp_path / "nowhere" / "reel.mp4", "a test")


@pytest.mark.parametrize("takes_others", [True, False])
def test_no_reel_takes_the_place_of_a_title_that_it_shows(
    takes_others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor of one in a folder that takes no other file, so that it would be written itself."""
    path = tmp_path / "reel.mp4"
    Image.new("RGB", (64, 48), "red").save(path, "png")
    before = path.read_bytes()
    real = os.open

    def refuse(file: str | Path, flags: int, *given: Any, **options: Any) -> int:
        if Path(file).parent == tmp_path and flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(file, flags, *given, **options)

    if not takes_others:
        list_path(path).write_text('{"reel": "reel.mp4", "clips": []}')
        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UsageError, match=r"reel\.mp4: it would take the place of what is read"):
        reel_of(tmp_path, [("film", str(path), [Part(0.9)])], ReelOptions(seconds=1, clip_s=1, form=SMALL))
    assert path.read_bytes() == before
    names = ["reel.mp4", "store"] if takes_others else ["reel.json", "reel.mp4", "store"]
    assert sorted(one.name for one in tmp_path.iterdir()) == names


#: What of the odd files holds nothing that could be shown.
UNREADABLE = (
    *("empty_", "notmedia_", "trunc_stub", "trunc_no_index", "trunc_40pct"),
    *("image_bomb", "streams_subtitle_only"),
)


@pytest.mark.parametrize("whole", short_and_whole(False, True))
def test_real_media_of_all_kinds_make_one_film(tmp_path: Path, media: Path, whole: bool) -> None:
    videos = [media / row["path"] for row in rows_of(media, "video", whole=whole)]
    paths = sorted([*videos, *sorted((media / "odd").iterdir())[:: 1 if whole else 4]])
    titles = []
    for at, path in enumerate(paths):
        still = path.name.startswith("image_")
        part = Part(0.95 - at / 500, 0.0, 0.0 if still else 3.0)
        titles.append((path.name, str(path), [part]))
    options = ReelOptions(seconds=300, clip_s=1.0, diversity=0, form=ReelFormat(320, 180, 25))
    reel = reel_of(tmp_path, titles, options)
    check_whole(reel, play(reel.path))
    shown = {c.facts.media_id for c in reel.clips}
    missing = {p.name for p in paths} - shown
    assert missing == {t.facts.media_id for t in reel.left_out}
    assert {p.name for p in paths if p.parent.name == "video"} <= shown
    assert {name for name in missing if not name.startswith(UNREADABLE)} == set()
