"""Folders and globs, here and in stores: what is a title, what belongs to one, and what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from resonance.clients.errors import CredentialsError, ServerFaultError
from resonance.clients.ingest.catalogue import read_catalogue
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.folders import FolderTitles
from resonance.clients.ingest.manifest import FaultyRow
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import local_path
from resonance.clients.media.sidecars import find_sidecar
from tests.clients.ingest.made import count_listings
from tests.clients.ingest.object_stores import S3, gcs_server, s3_server

FILES = (
    *("film.mp4", "film.srt", "film.en.vtt", "film.part2.srt", "alone.srt", "poster.jpg", "poster.srt"),
    *("below/Film #1 [x]?.MKV", "below/Film #1 [x]?.pt-BR.vtt", "below/deep/song.flac", "below/essay.txt"),
    *(".hidden.mp4", ".hidden/film.mp4", "_resonance/failed.parquet", "_resonance/film.mp4"),
    *("film.mp4.part", "film.nfo", "list.csv", "below/IMG_1.HEIC"),
    *("film.en_GB.cc.vtt", "below/deep/song.de.forced.srt"),
)
TITLES = {
    *("film.mp4", "film.part2.srt", "alone.srt", "poster.jpg", "poster.srt"),
    *("below/Film #1 [x]?.MKV", "below/deep/song.flac", "below/essay.txt", "below/IMG_1.HEIC"),
}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as store:
        yield store


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"uri\n")
    return folder


def read(*sources: str | Path) -> list[CatalogueItem]:
    rows = list(read_catalogue([str(source) for source in sources]))
    assert not [row for row in rows if isinstance(row, FaultyRow)]
    return [row for row in rows if isinstance(row, CatalogueItem)]


def ids(items: Iterable[CatalogueItem]) -> list[str]:
    return [item.media_id for item in items]


def test_the_titles_of_a_folder(library: Path) -> None:
    items = read(library)
    assert set(ids(items)) == TITLES
    assert len(items) == len(TITLES)
    assert {item.uri for item in items} == {str(library / name) for name in TITLES}
    assert items == read(library)  # in the same order


def test_what_is_no_title_of_its_own_is_what_a_reader_finds_beside_one(library: Path) -> None:
    found = {str(find_sidecar(library / name)) for name in ("film.mp4", "below/Film #1 [x]?.MKV")}
    assert found == {str(library / "film.srt"), str(library / "below" / "Film #1 [x]?.pt-BR.vtt")}
    assert not found & {item.uri for item in read(library)}


def test_one_file_of_a_folder_is_judged_as_the_whole_folder_is(library: Path) -> None:
    titles = FolderTitles(library)
    each = [titles.item(library / name) for name in FILES]
    assert {item.media_id for item in each if isinstance(item, CatalogueItem)} == TITLES
    assert [item for item in each if item is not None and item not in read(library)] == []


@pytest.mark.parametrize("protocol", ["memory", "s3"])
def test_the_titles_of_a_store_are_the_same_with_their_subtitles(s3: S3, protocol: str) -> None:
    system = fsspec.filesystem(protocol)
    for name in FILES:
        system.pipe(f"library/all/{name}", b"uri\n")
    items = read(f"{protocol}://library/all")
    assert set(ids(items)) == TITLES
    assert len(items) == len(TITLES)
    root = "memory:///library/all" if protocol == "memory" else "s3://library/all"
    assert {item.uri.replace("memory:///", "memory://") for item in items} == {
        f"{root}/{name}".replace("memory:///", "memory://") for name in TITLES
    }
    words = {item.media_id: item.transcript_uri for item in items if item.transcript_uri is not None}
    assert {name: uri.rpartition("/")[2] for name, uri in words.items()} == {
        "film.mp4": "film.srt",
        "below/Film #1 [x]?.MKV": "Film #1 [x]?.pt-BR.vtt",
    }
    assert all(uri.startswith(f"{protocol}://") and system.exists(uri) for uri in words.values())


@pytest.mark.parametrize(
    ("pattern", "titles"),
    [
        ("*.mp4", {"film.mp4"}),
        ("*", {"film.mp4", "film.part2.srt", "alone.srt", "poster.jpg", "poster.srt"}),
        ("*/*.MKV", {"below/Film #1 [x]?.MKV"}),
        ("**/*.flac", {"below/deep/song.flac"}),
        ("**/*.[mM][pK][4vV]", {"film.mp4", "below/Film #1 [x]?.MKV"}),
        ("b?low/*.txt", {"below/essay.txt"}),
    ],
)
def test_globs_are_the_same_here_and_in_a_store(
    library: Path, s3: S3, pattern: str, titles: set[str]
) -> None:
    for name in FILES:
        fsspec.filesystem("s3").pipe(f"library/globs/{name}", b"uri\n")
    here = read(library / pattern)
    there = read(f"s3://library/globs/{pattern}")
    assert {item.uri for item in here} == {str(library / name) for name in titles}
    assert {item.uri for item in there} == {f"s3://library/globs/{name}" for name in titles}
    assert ids(there) == [item.uri for item in there]
    assert len(here) == len(there) == len(titles)


def test_names_that_look_like_patterns_are_names_where_they_are_there(library: Path, s3: S3) -> None:
    s3.put("library/odd/Film [x]?.mp4", b"film")
    assert ids(read(library / "below" / "Film #1 [x]?.MKV")) == [str(library / "below" / "Film #1 [x]?.MKV")]
    assert ids(read("s3://library/odd/Film [x]?.mp4")) == ["s3://library/odd/Film [x]?.mp4"]


def test_sources_that_are_named(library: Path) -> None:
    (library / "list.csv").write_text("uri\nfilm.mp4\n\nbelow/essay.txt\n")
    unknown = library / "film.nfo"
    items = read(library / "list.csv", unknown, library / "film.srt", library.as_uri() + "/film.mp4")
    assert [item.uri for item in items] == [
        *(str(library / "film.mp4"), str(library / "below" / "essay.txt")),
        *(str(unknown), str(library / "film.srt"), library.as_uri() + "/film.mp4"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        *("none.mp4", "none/*.mp4", "none.csv", "a\0b", "memory://nowhere", "memory://nowhere/*.mp4"),
        *("s3://no-such-bucket", "s3://no-such-bucket/**/*.mp4", "s3://library/none", "nope://library"),
    ],
)
def test_a_source_that_is_not_there(s3: S3, source: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        list(read_catalogue([source]))
    assert caught.value.where == source


def test_a_store_that_knows_none_of_the_keys(s3: S3) -> None:
    s3.take_no_strangers()
    try:
        with pytest.raises(CredentialsError):
            list(read_catalogue(["s3://library"]))
    finally:
        s3.take_strangers()


def test_google_s_store_is_listed() -> None:
    with gcs_server() as store:
        for name in ("film.mp4", "film.srt", "below/song.flac"):
            store.pipe(f"library/{name}", b"x")
        items = read("gs://library")
        assert [(i.media_id, i.uri, i.transcript_uri) for i in items] == [
            ("film.mp4", "gs://library/film.mp4", "gs://library/film.srt"),
            ("below/song.flac", "gs://library/below/song.flac", None),
        ]
        assert ids(read("gs://library/**/*.flac")) == ["gs://library/below/song.flac"]


class Breaking(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
    """A store that fails to list one folder."""

    protocol = "breaking"
    error: Exception = PermissionError("no leave")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("breaking://", "memory://")))

    def ls(self, path: str, detail: bool = True, **options: object) -> object:
        if path.endswith("/below"):
            raise self.error
        return super().ls(path, detail=detail, **options)


@pytest.mark.parametrize(
    ("error", "stops"),
    [(PermissionError("no leave"), False), (OSError("reset"), True), (RuntimeError("oops"), True)],
)
def test_a_folder_of_a_store_that_is_not_listed_is_not_left_out_in_silence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, stops: bool
) -> None:
    fsspec.register_implementation("breaking", Breaking, clobber=True)
    monkeypatch.setattr(Breaking, "error", error)
    for name in ("a.mp4", "below/b.mp4", "c.mp4"):
        fsspec.filesystem("memory").pipe(f"/breaking/{name}", b"x")
    if stops:
        with pytest.raises(ServerFaultError, match=str(error)):
            list(read_catalogue(["breaking://breaking"]))
        return
    first, second, faulty = read_catalogue(["breaking://breaking"])
    assert [getattr(item, "media_id", None) for item in (first, second)] == ["a.mp4", "c.mp4"]
    assert isinstance(faulty, FaultyRow)
    assert "no leave" in faulty.error.came


def test_names_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.mp4", "wb"):
        pass
    (tmp_path / "film.mp4").touch()
    for source in (tmp_path, tmp_path / "*.mp4"):
        rows = list(read_catalogue([str(source)]))
        (faulty,) = (row for row in rows if isinstance(row, FaultyRow))
        assert len(rows) == 2
        assert "not UTF-8" in faulty.error.came
        faulty.where.encode()


def test_what_is_no_regular_file_is_left_and_a_broken_link_is_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "film.mkv").touch()
    (tmp_path / "link.mp4").symlink_to("film.mkv")
    (tmp_path / "broken.mp4").symlink_to("none.mkv")  # it will be in quarantine, where people see it
    (tmp_path / "round").symlink_to(tmp_path)
    assert ids(read(tmp_path)) == ["broken.mp4", "film.mkv", "link.mp4"]


def test_titles_with_a_colon_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Alien: Covenant.mp4").touch()
    monkeypatch.chdir(tmp_path)
    (item,) = read(".")
    assert item.media_id == "Alien: Covenant.mp4"
    path = local_path(item.uri)
    assert path is not None
    assert path.exists()


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    """Skips where it takes nothing from whoever runs this, such as root."""
    path.chmod(bits)
    try:
        if os.access(path, os.R_OK | os.X_OK):
            pytest.skip("whoever runs this may read every folder, as root may")
        yield
    finally:
        path.chmod(0o755)


@pytest.mark.parametrize("source", ["", "**/*", "*/*", "b*/essay.txt", "*/deep/*.flac"])
def test_a_folder_that_may_not_be_read_is_told(library: Path, source: str) -> None:
    with mode(library / "below", 0):
        rows = list(read_catalogue([str(library / source)]))
    (faulty,) = (row for row in rows if isinstance(row, FaultyRow))
    assert faulty.where == str(library / ("below/deep" if "deep" in source else "below"))


def test_a_folder_that_a_glob_does_not_fit_need_not_be_read(library: Path) -> None:
    (library / "other").mkdir()
    (library / "other" / "essay.txt").touch()
    with mode(library / "below", 0):
        names = [Path(item.uri).name for item in read(library / "*.mp4", library / "[!b]*/*")]
    assert names == ["film.mp4", "essay.txt"]


@pytest.mark.parametrize("source", ["", "**/*.txt"])
def test_titles_of_a_folder_that_may_be_listed_only_are_handed_out(library: Path, source: str) -> None:
    """Opening them tells that there is no leave."""
    with mode(library / "below", 0o444):
        rows = list(read_catalogue([str(library / source)]))
        item = FolderTitles(library).item(library / "below" / "essay.txt")
    found = [row.uri for row in rows if isinstance(row, CatalogueItem)]
    assert str(library / "below" / "essay.txt") in found
    assert isinstance(item, CatalogueItem)


@pytest.mark.parametrize(
    ("pattern", "titles"),
    [
        ("**", TITLES),
        ("**/**", TITLES),
        ("**/*e*/**/*", {title for title in TITLES if "/" in title}),
        ("*/deep/*", {"below/deep/song.flac"}),
        ("**/deep/*", {"below/deep/song.flac"}),
        ("*/*[[]x[]]*", {"below/Film #1 [x]?.MKV"}),
        ("f**.mp4", {"film.mp4"}),
        ("[!f]*.srt", {"alone.srt", "poster.srt"}),
        ("*.srt", {"film.part2.srt", "alone.srt", "poster.srt"}),
        ("link/*.txt", {"link/essay.txt"}),
        ("*/link/*.txt", {"deeper/link/essay.txt"}),
        ("**/link/*.txt", {"link/essay.txt", "deeper/link/essay.txt"}),
        ("l*/*.txt", set()),
        ("*/.hidden/*", set()),
        ("*/none/*", set()),
        ("*.MP4", set()),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_what_a_glob_fits(
    library: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, titles: set[str], relative: bool
) -> None:
    (library / "loop").symlink_to(".")
    (library / "below" / "other").symlink_to("..")
    (library / "link").symlink_to("below")
    (library / "deeper").mkdir()
    (library / "deeper" / "link").symlink_to("../below")
    monkeypatch.chdir(library)
    source = pattern if relative else str(library / pattern)
    if not titles:
        with pytest.raises(CatalogueError, match="no media of such a name"):
            list(read_catalogue([source]))
        return
    items = read(source)
    assert sorted(ids(items)) == sorted(name if relative else str(library / name) for name in titles)
    assert sorted(item.uri for item in items) == sorted(str(library / name) for name in titles)


def test_a_file_behind_a_link_to_a_folder_is_no_title_of_the_folder(library: Path) -> None:
    (library / "link").symlink_to("below/deep")
    assert FolderTitles(library).item(library / "link" / "song.flac") is None
    linked = library.with_name("linked")
    linked.symlink_to(library)  # named, it is the folder that it leads to
    assert {item.media_id for item in read(linked)} == TITLES
    assert FolderTitles(linked).item(linked / "film.mp4") is not None


@pytest.mark.parametrize("source", ["", "*", "**/*"])
def test_a_folder_is_listed_once_however_many_subtitles_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    for number in range(20):
        (tmp_path / f"{number}.mp4").touch()
        (tmp_path / f"{number}.en.srt").touch()
    listed = count_listings(monkeypatch)
    monkeypatch.setattr(os, "listdir", None)
    assert len(read(tmp_path / source)) == 20
    titles = FolderTitles(tmp_path)
    for number in range(20):
        assert titles.item(tmp_path / f"{number}.en.srt") is None
        assert titles.media_of(tmp_path / f"{number}.pt.srt") == [tmp_path / f"{number}.mp4"]
    assert len(listed) == 2
