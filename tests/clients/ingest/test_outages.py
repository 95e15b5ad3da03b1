"""What was away for a night and is there again is not embedded again."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from resonance.clients.ingest.embedding import TitleWorker
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.ledger import Ledger
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from tests.clients.ingest.made import SPACE
from tests.clients.ingest.offline import in_quarantine, night
from tests.clients.ingest.running import stored

NAMES = [f"t{number}" for number in range(5)]


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    """A manifest of texts in a folder."""
    (tmp_path / "library").mkdir()
    for name in NAMES:
        (tmp_path / "library" / f"{name}.txt").write_text(f"text {name}")
    return manifest(tmp_path, "calm")


def manifest(folder: Path, tag: str) -> str:
    rows = "".join(f"{name},library/{name}.txt,{tag}\n" for name in NAMES)
    (folder / "titles.csv").write_text(f"id,uri,tags\n{rows}")
    return str(folder / "titles.csv")


def results(folder: Path, source: str) -> set[str]:
    return {result for title in night(folder, [source]).values() for result in title}


def test_a_mount_that_is_away_for_a_night(
    tmp_path: Path, catalogue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert results(tmp_path, catalogue) == {"embedded"}
    before = stored(tmp_path / "sink")
    (tmp_path / "library").rename(tmp_path / "away")
    for _ in range(2):
        assert results(tmp_path, catalogue) == {"failed"}
    assert in_quarantine(tmp_path) == set(NAMES)
    ledger = Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), SPACE, open_sink)
    assert ledger.stored() == len(NAMES)
    ledger.close()
    (tmp_path / "away").rename(tmp_path / "library")

    def read(worker: TitleWorker, item: CatalogueItem) -> str:
        raise AssertionError(f"{item.uri} is read")

    with monkeypatch.context() as patched:
        patched.setattr(TitleWorker, "_version", read)
        assert results(tmp_path, catalogue) == {"unchanged"}
    assert in_quarantine(tmp_path) == set()
    assert stored(tmp_path / "sink") == before


def test_new_labels_of_a_night_in_which_the_media_were_away(tmp_path: Path, catalogue: str) -> None:
    results(tmp_path, catalogue)
    (tmp_path / "library").rename(tmp_path / "away")
    assert results(tmp_path, manifest(tmp_path, "stormy")) == {"failed"}
    (tmp_path / "away").rename(tmp_path / "library")
    assert results(tmp_path, manifest(tmp_path, "stormy")) == {"relabelled"}
    assert {tuple(row["tags"]) for row in stored(tmp_path / "sink").values()} == {("stormy",)}


def test_a_file_that_was_broken_for_a_night_and_put_back(tmp_path: Path, catalogue: str) -> None:
    results(tmp_path, catalogue)
    one = tmp_path / "library" / "t0.txt"
    one.write_bytes(b"\xff\xfe\xff")
    assert night(tmp_path, [catalogue])["t0"] == ["failed"]
    one.write_text("text t0")  # at another time, and it may be another inode
    assert results(tmp_path, catalogue) == {"unchanged"}
    one.write_text("another text")
    assert night(tmp_path, [catalogue])["t0"] == ["embedded"]
    one.write_text("text t0")  # which the store has no more
    assert night(tmp_path, [catalogue])["t0"] == ["embedded"]


def test_a_damaged_file_of_the_store_that_was_removed(
    tmp_path: Path, catalogue: str, caplog: pytest.LogCaptureFixture
) -> None:
    results(tmp_path, catalogue)
    before = stored(tmp_path / "sink")
    (tmp_path / "library" / "more.txt").write_text("one more")
    with Path(catalogue).open("a") as rows:
        rows.write("more,library/more.txt,calm\n")
    assert results(tmp_path, catalogue) == {"unchanged", "embedded"}
    (part,) = (p for p in (tmp_path / "sink").glob("part-*") if pq.read_metadata(p).num_rows == len(NAMES))
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(StoreError, match="bring it back from a copy, or remove it"):
        night(tmp_path, [catalogue])
    part.unlink()
    assert "sink lacks" not in caplog.text
    assert results(tmp_path, catalogue) == {"unchanged", "embedded"}
    assert "sink lacks 5 titles that were stored in it" in caplog.text
    assert {name: row for name, row in stored(tmp_path / "sink").items() if name in before} == before
    assert results(tmp_path, catalogue) == {"unchanged"}
