"""Subtitle files beside media are found by their names, and taken for what these say they are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from resonance.clients.media.sidecars import (
    LARGE_LISTED_EVERY_S,
    LARGE_NAMES,
    SETTLED_S,
    find_sidecar,
)
from resonance.clients.media.types import SegmentInput
from tests.clients.media.synthetic import SRT, even_times, film

ReadAll = Callable[..., list[SegmentInput]]


def count_listings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are listed from now on, as they are."""
    listed: list[Path] = []
    names = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: (listed.append(folder), names(folder))[1])
    return listed


class Clock:
    """Our own clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        clocks = SimpleNamespace(monotonic=lambda: self.now_s, time=time.time)
        monkeypatch.setattr("resonance.clients.media.sidecars.time", clocks)


@pytest.mark.parametrize("name", ["film.srt", "film.en.srt", "film.pt-BR.vtt"])
def test_a_sidecar_is_found_by_its_name(read_all: ReadAll, tmp_path: Path, name: str) -> None:
    movie = tmp_path / "film.mp4"
    movie.write_bytes(film(even_times(12, 10), rate=10))
    (tmp_path / "film-two.srt").write_text(SRT.replace("one", "wrong"))
    text = SRT if name.endswith("srt") else "WEBVTT\n\n" + SRT.replace(",", ".")
    (tmp_path / name).write_text(text)
    segments = read_all(movie)
    # the cue at 20 s is not part of a film of 12 s
    assert [s.text for s in segments] == ["one two three four five six seven", "four five six seven"]
    assert segments[1].end_s == pytest.approx(12.0, abs=0.11)


@pytest.mark.parametrize(
    "names", [["film.SRT"], ["film.en.VTT"], ["film.Vtt", "film.de.srt"], ["film.de.srt", "film.en.srt"]]
)
def test_a_sidecar_in_any_case_and_without_a_language_first(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text(SRT)
    assert find_sidecar(tmp_path / "film.mp4") == tmp_path / names[0]


def test_no_sidecar_of_another_film(tmp_path: Path) -> None:
    (tmp_path / "film.extended.cut.srt").write_text(SRT)
    (tmp_path / "filmx.srt").write_text(SRT)
    assert find_sidecar(tmp_path / "film.mp4") is None


def test_where_the_system_cannot_look_is_no_sidecar(tmp_path: Path) -> None:
    longest = tmp_path / ("録" * 84 + ".ts")  # 255 bytes; with .srt one more than a name may have
    longest.write_bytes(film(even_times(2, 10), rate=10))
    assert find_sidecar(longest) is None
    assert find_sidecar(Path("/")) is None


def test_a_named_transcript_wins(read_all: ReadAll, tmp_path: Path) -> None:
    movie = tmp_path / "film.mp4"
    movie.write_bytes(film(even_times(10, 10), rate=10))
    (tmp_path / "film.srt").write_text(SRT)
    other = tmp_path / "other.srt"
    other.write_text(SRT.replace("one", "uno"))
    assert (read_all(movie, transcript=other)[0].text or "").startswith("uno")


@pytest.mark.parametrize(
    "name",
    [
        *("film.en.sdh.srt", "film.pt_BR.srt", "film.eng.CC.vtt", "film.sdh.srt", "film.en.hi.default.srt"),
        *("film.zh-Hans-CN.srt", "film.default.vtt"),
    ],
)
def test_a_sidecar_may_say_of_what_kind_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(SRT)
    assert find_sidecar(tmp_path / "film.mp4") == tmp_path / name


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["film.de.sdh.srt", "film.en.srt"], "film.en.srt"),
        (["film.de.forced.srt", "film.en.sdh.srt"], "film.en.sdh.srt"),
        (["film.sdh.srt", "film.hi.srt"], "film.hi.srt"),  # alone it is Hindi
        (["film.cc.srt", "film.vtt"], "film.vtt"),
    ],
)
def test_plain_subtitles_go_before_those_of_a_kind(names: list[str], first: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text(SRT)
    assert find_sidecar(tmp_path / "film.mp4") == tmp_path / first


def test_forced_subtitles_are_no_transcript(tmp_path: Path) -> None:
    for name in ("film.forced.srt", "film.en.forced.srt", "film.en.sdh.forced.vtt"):
        (tmp_path / name).write_text(SRT)
    assert find_sidecar(tmp_path / "film.mp4") is None


def test_one_listing_serves_all_titles_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"film{number}.mp4").touch()
        (tmp_path / f"film{number}.de.srt").touch()
    os.utime(tmp_path, (1, 1))
    listed = count_listings(monkeypatch)
    for number in range(20):
        assert find_sidecar(tmp_path / f"film{number}.mp4") == tmp_path / f"film{number}.de.srt"
    assert listed == [tmp_path]


@pytest.mark.parametrize("changed_s", [1.0, None], ids=["long-ago", "just-now"])
def test_a_sidecar_that_comes_later_is_found(tmp_path: Path, changed_s: float | None) -> None:
    if changed_s is not None:
        os.utime(tmp_path, (changed_s, changed_s))
    assert find_sidecar(tmp_path / "film.mp4") is None
    (tmp_path / "film.en.srt").touch()
    assert find_sidecar(tmp_path / "film.mp4") == tmp_path / "film.en.srt"


def test_a_folder_whose_time_lies_ahead_is_listed_until_it_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a server whose clock is fast, or of a backup that was restored."""
    (tmp_path / "film.de.srt").touch()
    ahead_s = time.time() + 3600
    os.utime(tmp_path, (ahead_s, ahead_s))
    clock, listed = Clock(monkeypatch), count_listings(monkeypatch)
    for passed_s in (0.0, 0.0, SETTLED_S + 0.1, 1.0, 1.0):
        clock.now_s += passed_s
        assert find_sidecar(tmp_path / "film.mp4") == tmp_path / "film.de.srt"
    assert len(listed) == 3
    (tmp_path / "film.en.srt").touch()
    (tmp_path / "film.de.srt").unlink()
    assert find_sidecar(tmp_path / "film.mp4") == tmp_path / "film.en.srt"


def large(folder: Path) -> Path:
    for number in range(LARGE_NAMES + 1):
        (folder / f"film{number}.mp4").touch()
    return folder


def test_a_large_folder_is_listed_once_a_second_until_it_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(tmp_path)
    changed_s = time.time() - SETTLED_S / 2
    os.utime(tmp_path, (changed_s, changed_s))
    clock, listed = Clock(monkeypatch), count_listings(monkeypatch)
    for count in (1, 2):
        for number in range(20):
            assert find_sidecar(tmp_path / f"film{number}.mp4") is None
        assert len(listed) == count
        clock.now_s += LARGE_LISTED_EVERY_S


@pytest.mark.parametrize("tells", [True, False], ids=["another-time", "same-time"])
def test_subtitles_that_come_while_others_upload_into_a_large_folder_are_found_at_once(
    tells: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the folder's time is too coarse to tell two uploads apart."""
    large(tmp_path)
    Clock(monkeypatch)  # which stands still
    ahead_s = time.time() + 3600
    for number in range(5):
        for name in (f"other{number}.mp4", f"film{number}.en.srt"):
            (tmp_path / name).touch()
            if not tells:
                os.utime(tmp_path, (ahead_s, ahead_s))
            found = find_sidecar(tmp_path / f"film{number}.mp4")
            assert found == (tmp_path / name if name.endswith(".srt") else None)


def test_many_who_ask_side_by_side_are_answered_from_one_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film.en.srt").touch()
    names, listed, first = os.listdir, [], threading.Event()

    def listing(folder: Path) -> list[str]:
        listed.append(folder)
        first.set()
        time.sleep(0.2)  # meanwhile all others ask
        return names(folder)

    monkeypatch.setattr(os, "listdir", listing)
    with ThreadPoolExecutor(9) as threads:
        one = threads.submit(find_sidecar, tmp_path / "film.mp4")
        first.wait()
        found = list(threads.map(find_sidecar, [tmp_path / "film.mp4"] * 8))
    assert [one.result(), *found] == [tmp_path / "film.en.srt"] * 9
    assert len(listed) == 2  # who asked after the first listing had begun may know of more
