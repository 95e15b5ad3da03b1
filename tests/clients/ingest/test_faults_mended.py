"""What a catalogue's mistakes left in quarantine goes once they are mended, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from resonance.clients.errors import UsageError
from resonance.clients.extras import extra_hint
from resonance.clients.ingest.catalogue import folder_of
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.manifest import FaultyRow
from tests.clients.ingest import offline
from tests.clients.ingest.offline import in_quarantine, night


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("/films", "/films/"),
        ("./films/", "films/"),
        ("file:///films", "/films/"),
        ("films/**/*.mp4", "films/"),
        ("s3://bucket/films/", "s3://bucket/films/"),
        ("s3://bucket/[ab]/*.mp4", "s3://bucket/"),
    ],
)
def test_where_the_titles_of_a_source_are(source: str, folder: str) -> None:
    assert folder_of(source) == folder


def test_another_file_of_a_name_that_is_not_named_any_more_is_forgotten(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    manifest, other = tmp_path / "titles.csv", tmp_path / "other.csv"
    manifest.write_text("id,uri\none,a.txt\none,b.txt\n")
    other.write_text("id,uri\ntwo,c.txt\ngone,d.txt\n,\n")
    twin = f"one ({tmp_path}/b.txt)"
    night(tmp_path, [str(manifest)])
    assert in_quarantine(tmp_path) == {twin}
    night(tmp_path, [str(other)])
    assert in_quarantine(tmp_path) == {twin, "gone", f"{other} row 3"}
    manifest.write_text("id,uri\none,a.txt\n")
    night(tmp_path, [str(manifest)])
    assert in_quarantine(tmp_path) == {"gone", f"{other} row 3"}


@pytest.mark.parametrize("pattern", ["", "/*/*.txt"])
def test_a_folder_that_can_be_read_again_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    library = tmp_path / "library"
    (library / "one").mkdir(parents=True)
    (library / "one" / "a.txt").write_text("a")
    (library / "list.csv").write_text("uri\n,\n")
    names = {str(library / "two"), str(tmp_path / "elsewhere")}
    with monkeypatch.context() as unread:
        read, came = offline.read_catalogue, "a folder that cannot be read"
        faulty = [FaultyRow(name, CatalogueError(name, came, "leave to list it")) for name in names]
        unread.setattr(offline, "read_catalogue", lambda sources: iter([*read(sources), *faulty]))
        night(tmp_path, [str(library) + pattern, str(library / "list.csv")])
    row = f"{library}/list.csv row 1"
    assert in_quarantine(tmp_path) == {*names, row}
    night(tmp_path, [str(library) + pattern])
    assert in_quarantine(tmp_path) == {str(tmp_path / "elsewhere"), row}


def test_a_row_that_nothing_here_opens_stops_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, media = tmp_path / "titles.csv", "s3://library/b.txt"
    (tmp_path / "a.txt").write_text("a")
    manifest.write_text(f"uri\na.txt\n{media}\n")
    fsspec.filesystem("memory").pipe("/library/b.txt", b"b")
    opened = fsspec.core.url_to_fs

    def missing(uri: str, **options: object) -> object:
        if uri.startswith("s3:"):
            raise ImportError("Install s3fs to access S3")
        return opened(uri, **options)

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    for result in ("embedded", "unchanged"):
        assert night(tmp_path, [str(manifest)]) == {"a.txt": [result], media: ["failed"]}
    (failed,) = pq.read_table(tmp_path / "failed.parquet").to_pylist()
    assert failed["error_type"] == "MissingPackageError"
    assert failed["error"] == f"{media}: Install s3fs to access S3; {extra_hint('s3')}"
    with pytest.raises(UsageError, match="Install s3fs"):
        night(tmp_path, [media])  # which is asked for by whoever runs the job
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda uri, **options: opened(uri.replace("s3", "memory")))
    assert night(tmp_path, [str(manifest)]) == {"a.txt": ["unchanged"], media: ["embedded"]}
    assert in_quarantine(tmp_path) == set()
