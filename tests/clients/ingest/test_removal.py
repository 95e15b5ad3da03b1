"""Titles leave a store by name, or because their catalogue has them no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.clients.ingest.errors import JournalError, PruneError
from resonance.clients.ingest.ledger import Ledger
from resonance.clients.ingest.pending import row_bytes
from resonance.clients.ingest.state_files import default_journal
from resonance.clients.ingest.stores import open_sink
from tests.clients.ingest.made import SPACE, made_item, made_row
from tests.clients.ingest.running import ingest, stored

NAMES = [f"film {number}" for number in range(10)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Ten titles in two files, with the journal of the job that wrote them."""
    path = tmp_path / "store"
    ledger = opened(path)
    for at, name in enumerate(NAMES):
        ledger.begin(made_item(name), "size 1", "v1")
        ledger.finish(name, "v1", row_bytes(made_row(name)))
        if at == 4:
            ledger.flush()
    ledger.flush()
    ledger.close()
    return path


def opened(path: Path) -> Ledger:
    return Ledger(default_journal(str(path)), str(path), SPACE, open_sink)


def seen(path: Path, names: list[str], limit: float | None) -> int:
    """A job whose catalogue has those `names`."""
    ledger = opened(path)
    try:
        for name in names:
            ledger.look(made_item(name), "size 1")
        return ledger.end_catalogue(["titles.csv"], limit)
    finally:
        ledger.close()


def remove(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(make_app(), ["remove", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_titles_are_removed_by_name_and_embedded_anew_should_they_come_again(store: Path) -> None:
    code, out, err = remove(store, "film 3", "film 7", "film 3")
    assert (code, out, err) == (0, "2 removed\n", "")
    assert stored(store).keys() == set(NAMES) - {"film 3", "film 7"}
    ledger = opened(store)
    assert str(ledger.look(made_item("film 3"), "size 1")) == "embed"
    assert str(ledger.look(made_item("film 4"), "size 1")) == "unchanged"
    ledger.close()


def test_unknown_names_and_stores_are_told(store: Path, tmp_path: Path) -> None:
    code, out, err = remove(store, "film 1", "nobody")
    assert (code, out) == (1, "1 removed\n")
    assert err == f"nobody: no such title in {store}\n"
    code, out, err = remove(tmp_path / "nowhere", "film 1")
    assert (code, out) == (1, "")
    assert "nowhere: no titles; expected a folder that `resonance ingest` filled" in err
    assert not (tmp_path / "nowhere").exists()


def test_names_that_are_not_utf_8_are_told(store: Path) -> None:
    code, out, err = remove(store, "film 1", "caf\udce9", "a\x1b[31m[b]")
    assert (code, out) == (1, "1 removed\n")
    assert err == f"caf\\udce9: no such title in {store}\na\\x1b[31m[b]: no such title in {store}\n"
    code, _, err = remove("v\udce9", "film 1")
    assert code == 2
    assert "v\\udce9: a name that is not UTF-8" in err
    wrong = ["ingest", "a.txt", "--sink", "v\udce9", "--server", "localhost:1"]
    result = CliRunner().invoke(make_app(), wrong)
    assert result.exit_code == 2
    assert "v\\udce9: a name that is not UTF-8" in result.stderr


def test_a_store_without_its_journal_says_so(store: Path) -> None:
    shutil.rmtree(store / "_resonance")
    code, out, err = remove(store, "film 1")
    assert (code, out) == (0, "1 removed\n")
    assert "no journal there; the job that has one embeds them again if they are in" in err
    assert not (store / "_resonance").exists()


def test_a_store_that_is_empty_now_can_be_looked_at_and_filled_again(store: Path) -> None:
    assert remove(store, *NAMES)[0] == 0
    result = CliRunner().invoke(make_app(), ["validate", str(store), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["titles"] == 0
    ledger = opened(store)
    ledger.begin(made_item("film 1"), "size 1", "v1")
    ledger.finish("film 1", "v1", row_bytes(made_row("film 1")))
    ledger.flush()
    ledger.close()
    assert list(stored(store)) == ["film 1"]


def test_titles_that_are_gone_from_the_store_alone_leave_the_journal(store: Path) -> None:
    sink = open_sink(str(store), SPACE)
    sink.remove(NAMES)  # and then the command was killed
    sink.close()
    assert remove(store, *NAMES)[:2] == (1, "0 removed\n")
    ledger = opened(store)
    assert str(ledger.look(made_item("film 3"), "size 1")) == "embed"
    ledger.close()


def test_a_store_that_was_moved_has_its_journal_with_it(store: Path, tmp_path: Path) -> None:
    moved = store.rename(tmp_path / "moved")
    assert remove(moved, "film 3")[0] == 0
    ledger = opened(moved)
    assert str(ledger.look(made_item("film 4"), "size 1")) == "unchanged"
    ledger.close()
    shutil.copytree(moved, tmp_path / "copied")
    ledger = opened(tmp_path / "copied")
    assert str(ledger.look(made_item("film 4"), "size 1")) == "unchanged"
    ledger.close()


def test_a_journal_that_stands_elsewhere_is_one_stores_alone(store: Path, tmp_path: Path) -> None:
    state = (store / "_resonance").rename(tmp_path / "state")
    for name in (store.name, "other"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "_resonance").symlink_to(state)
    opened(store).close()
    with pytest.raises(JournalError, match=r"the journal of .*/store; expected that of .*/other"):
        opened(tmp_path / "other")


def test_what_a_catalogue_has_no_more_is_pruned_when_asked(store: Path) -> None:
    left = NAMES[1:]
    assert seen(store, left, None) == 0
    assert seen(store, NAMES, 0.0) == 0
    assert len(stored(store)) == 10
    assert seen(store, left, 0.1) == 1
    assert sorted(stored(store)) == left
    assert seen(store, left, 0.1) == 0


def test_a_catalogue_that_is_half_there_prunes_nothing(store: Path) -> None:
    with pytest.raises(
        PruneError, match="5 of 10 stored titles are not in the catalogue; expected at most 20%"
    ):
        seen(store, NAMES[:5], 0.2)
    assert len(stored(store)) == 10


def test_the_command_prunes_and_does_not_where_part_of_the_catalogue_is_unreadable(
    library: Path, server: object, tmp_path: Path
) -> None:
    titles, sink, address = tmp_path / "titles", tmp_path / "sink", server.grpc_address  # type: ignore[attr-defined]
    titles.mkdir()
    for name in ("000008.png", "000009.txt"):
        shutil.copy(library / name, titles)
    (titles / "more.txt").write_text("a text about the harbour")
    manifest = tmp_path / "titles.csv"
    rows = [f"{path.name},{path}\n" for path in sorted(titles.iterdir())]
    manifest.write_text("id,uri\n" + "".join(rows))
    code, summary, said = ingest(manifest, sink, address, "--prune")
    assert (code, summary["embedded"], summary["pruned"]) == (0, 3, 0), said
    manifest.write_text("id,uri\n" + "".join(rows[:1]) + "broken,\n")
    code, summary, said = ingest(manifest, sink, address, "--prune", "--prune-limit", "1")
    assert (code, summary["pruned"], summary["stored"]) == (1, 0, 3), said
    assert "nothing is pruned: 1 parts of the catalogue name no title" in said
    manifest.write_text("id,uri\n" + "".join(rows[:1]))
    code, summary, said = ingest(manifest, sink, address, "--prune")
    assert code == 3, said
    assert "2 of 3 stored titles are not in the catalogue" in said
    code, summary, said = ingest(manifest, sink, address, "--prune", "--prune-limit", "0.7")
    assert (code, summary["pruned"], summary["stored"], summary["in_quarantine"]) == (0, 2, 1, 0), said
    assert list(stored(sink)) == ["000008.png"]
    code, _, said = ingest(titles, sink, address, "--prune", "--watch")
    assert (code, "--prune needs a catalogue that comes to an end" in said) == (2, True)
    code, _, said = ingest(manifest, sink, address, str(titles), "--watch")
    assert (code, "--watch looks at one folder" in said) == (2, True)
