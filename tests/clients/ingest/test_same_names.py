"""A catalogue that names a title more than once says the same every night."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from resonance.clients.ingest.embedding import TitleWorker
from resonance.clients.ingest.types import CatalogueItem
from tests.clients.ingest.offline import night
from tests.clients.ingest.running import stored


@pytest.fixture
def first_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row of a catalogue takes longer to be looked at than the second."""
    known_by = TitleWorker._known_by

    def slow(worker: TitleWorker, item: CatalogueItem) -> str | None:
        if item.tags == ("a",):
            time.sleep(0.1)
        return known_by(worker, item)

    monkeypatch.setattr(TitleWorker, "_known_by", slow)


def tags(folder: Path, name: str) -> list[str]:
    found: list[str] = stored(folder / "sink")[name]["tags"]
    return found


@pytest.mark.usefixtures("first_is_slow")
def test_the_last_catalogue_that_names_a_title_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("boats")
    sources = [str(tmp_path / f"{name}.csv") for name in "ab"]
    for name, source in zip("ab", sources, strict=True):
        Path(source).write_text(f"uri,tags\nx.txt,{name}\n")
    assert night(tmp_path, sources) == {"x.txt": ["embedded", "relabelled"]}
    assert tags(tmp_path, "x.txt") == ["b"]
    for _ in range(3):
        assert night(tmp_path, sources) == {"x.txt": ["relabelled", "unchanged"]}
        assert tags(tmp_path, "x.txt") == ["b"]
    assert night(tmp_path, sources[::-1]) == {"x.txt": ["unchanged", "relabelled"]}
    assert tags(tmp_path, "x.txt") == ["a"]


@pytest.mark.usefixtures("first_is_slow")
def test_of_two_files_of_one_name_the_first_is_stored(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / f"{name}.txt").write_text(name)
    manifest = tmp_path / "titles.csv"
    manifest.write_text("id,uri,tags\none,1.txt,a\none,2.txt,b\n")
    for result in ("embedded", "unchanged", "unchanged"):
        results = night(tmp_path, [str(manifest)])
        assert results == {"one": [result], f"one ({tmp_path}/2.txt)": ["failed"]}
        assert tags(tmp_path, "one") == ["a"]
