"""What is a path of this machine, what is elsewhere, and how names are put together."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.clients.errors import UsageError
from resonance.clients.ingest.uris import beside, local_path, normal, suffix


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("film.mp4", "film.mp4"),
        ("/library/Alien: Covenant.mp4", "/library/Alien: Covenant.mp4"),
        ("Alien: Covenant.mp4", "Alien: Covenant.mp4"),
        ("file:///library/a%20film.mp4", "/library/a film.mp4"),
        ("file:///library/what%3F.mp4", "/library/what?.mp4"),
        ("file:///library/no#1.mp4", "/library/no#1.mp4"),
        ("file:/library/film.mp4", "/library/film.mp4"),
    ],
)
def test_paths_of_this_machine(uri: str, path: str) -> None:
    assert local_path(uri) == Path(path)


def test_nothing_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="an empty name; expected a path or a URI"):
        local_path("")
    assert local_path(".") == Path()


@pytest.mark.parametrize(
    "uri", ["s3://bucket/film.mp4", "memory://x", "simplecache::s3://bucket/x", "qdrant+local:folder"]
)
def test_what_is_elsewhere(uri: str) -> None:
    assert local_path(uri) is None


@pytest.mark.parametrize(
    ("uri", "other", "together"),
    [
        ("/lists/films.csv", "a/b.mp4", "/lists/a/b.mp4"),
        ("/lists/films.csv", "/library/b.mp4", "/library/b.mp4"),
        ("/lists/films.csv", "s3://bucket/b.mp4", "s3://bucket/b.mp4"),
        ("s3://bucket/lists/films.csv", "../media/b.mp4", "s3://bucket/media/b.mp4"),
        ("/lists/films.csv", "Alien: Covenant.mp4", "/lists/Alien: Covenant.mp4"),
        ("file:///lists/films.csv", "a/b.mp4", "/lists/a/b.mp4"),
        ("file:/lists/films.csv", "b.mp4", "/lists/b.mp4"),
    ],
)
def test_names_beside_others(uri: str, other: str, together: str) -> None:
    assert beside(uri, other) == together


def test_spellings_of_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    spelled = ("out", "out/", "./out", str(tmp_path / "out"), f"file://{tmp_path}/out", "link")
    assert {normal(uri) for uri in spelled} == {str(tmp_path / "out")}
    embedded = (f"qdrant+local:{folder}" for folder in (*spelled[:4], "link"))
    assert {normal(f"{uri}?name=films") for uri in embedded} == {f"qdrant+local:{tmp_path}/out?name=films"}
    assert normal("qdrant+local:out") == normal("qdrant+local:out?name=titles")
    assert normal("s3://bucket/out/") == normal("s3://bucket/out") != normal("s3://bucket/other")


@pytest.mark.parametrize(
    ("uri", "ending"),
    [
        ("s3://bucket/No #1.MP4", ".mp4"),
        ("s3://bucket/what?.mkv", ".mkv"),
        ("https://host/film.mp4?token=a.b", ".mp4"),
        ("/library/film", ""),
    ],
)
def test_endings(uri: str, ending: str) -> None:
    assert suffix(uri) == ending
