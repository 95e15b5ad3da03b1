"""What a catalogue's mistakes left in quarantine goes once they are mended, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

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
