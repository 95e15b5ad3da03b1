"""What a catalogue says of a title that has not changed reaches every store, and nothing else of it moves."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from resonance.clients.ingest.errors import JournalError, StoreError
from resonance.clients.ingest.journal_records import Fault
from resonance.clients.ingest.labels import LABELS, has_labels, labels_digest
from resonance.clients.ingest.ledger import Ledger, Verdict
from resonance.clients.ingest.part_files import PartFolder
from resonance.clients.ingest.pending import BatchSize, row_bytes
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.ingest.types import CatalogueItem
from tests.clients.ingest.made import SPACE, made_item, made_row, made_rows
from tests.clients.ingest.store_uris import KINDS, store_uri

NAMES = [f"film {number}" for number in range(7)]


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with store_uri(request.param, tmp_path, monkeypatch) as made:
        yield made


def opened(uri: str, tmp_path: Path, titles: int = 3) -> Ledger:
    return Ledger(tmp_path / "journal.sqlite", uri, SPACE, open_sink, batch=BatchSize(titles=titles))


def fill(uri: str, tmp_path: Path) -> None:
    ledger = opened(uri, tmp_path)
    for name in NAMES:
        assert ledger.begin(made_item(name), "size 1", f"v1 of {name}").verdict is Verdict.EMBED
        segments = 300 if name == NAMES[1] else 3
        ledger.finish(name, f"v1 of {name}", row_bytes(made_row(name, f"v1 of {name}", segments=segments)))
    ledger.flush()
    ledger.close()


def stored(uri: str) -> dict[str, dict[str, Any]]:
    store = open_store(uri)
    try:
        rows = pa.Table.from_batches(list(store.titles())).to_pylist()
    finally:
        store.close()
    assert sorted(row["media_id"] for row in rows) == NAMES
    return {row["media_id"]: row for row in rows}


def changed(name: str) -> CatalogueItem:
    return replace(
        made_item(name), uri=f"/moved/{name}.mp4", tags=("drama",), language="fr", attributes={"year": "2000"}
    )


def without_labels(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in LABELS}


def test_new_labels_are_stored_and_nothing_else_of_any_title_changes(uri: str, tmp_path: Path) -> None:
    fill(uri, tmp_path)
    before = stored(uri)
    new = NAMES[:5]  # more than a batch
    ledger = opened(uri, tmp_path)
    for name in NAMES:
        item = changed(name) if name in new else made_item(name)
        expected = Verdict.RELABELLED if name in new else Verdict.UNCHANGED
        if name == NAMES[2]:  # a file that was only touched is read, and found to be the same
            assert ledger.look(item, "size 1, touched") is Verdict.EMBED
            assert ledger.begin(item, "size 1, touched", f"v1 of {name}").verdict is expected
        else:
            assert ledger.look(item, "size 1") is expected
    ledger.flush()
    ledger.close()
    after = stored(uri)
    for name in NAMES:
        assert without_labels(after[name]) == without_labels(before[name])
        if name in new:
            assert has_labels(changed(name), after[name])
            assert after[name]["tags"] == ["drama"]
        else:
            assert after[name] == before[name]

    ledger = opened(uri, tmp_path)  # and once more: all is as the catalogue says
    for name in new:
        identity = "size 1, touched" if name == NAMES[2] else "size 1"
        assert ledger.look(changed(name), identity) is Verdict.UNCHANGED
    ledger.close()


@pytest.mark.parametrize("stop", ["sink.relabel", "journal.labelled"])
def test_a_job_that_is_killed_while_it_writes_them_writes_them_next_time(
    stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    ledger = opened(uri, tmp_path)
    new = ["film 0", "film 6"]  # of two files
    for name in new:
        assert ledger.look(changed(name), "size 1") is Verdict.RELABELLED
    owner, method = stop.split(".")
    target = getattr(ledger, f"_{owner}")
    whole, calls = getattr(target, method), []

    def killed(*arguments: object, **named: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        whole(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(target, method, killed)
        with pytest.raises(KeyboardInterrupt):
            ledger.flush()
    written = [name for name in new if stored(uri)[name]["tags"] == ["drama"]]
    assert len(written) == (1 if stop == "sink.relabel" else 2)
    ledger.close()

    ledger = opened(uri, tmp_path)
    verdicts = [str(ledger.look(changed(name), "size 1")) for name in new]
    assert sorted(verdicts) == ["relabelled", "unchanged"]  # that of which it is not known counts again
    assert {ledger.look(changed(name), "size 1") for name in new} == {Verdict.UNCHANGED}
    ledger.close()
    ledger = opened(uri, tmp_path)
    ledger.flush()  # whatever this job's catalogue has
    ledger.close()
    assert all(has_labels(changed(name), stored(uri)[name]) for name in new)


@pytest.mark.parametrize("stop", ["sink.relabel", "journal.labelled"])
def test_labels_that_are_put_right_after_a_job_was_killed_while_it_wrote_wrong_ones(
    stop: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(uri, tmp_path)
    before = stored(uri)
    ledger = opened(uri, tmp_path)
    for name in NAMES:
        assert ledger.look(changed(name), "size 1") is Verdict.RELABELLED
    owner, method = stop.split(".")
    target = getattr(ledger, f"_{owner}")
    whole = getattr(target, method)

    def killed(*arguments: object) -> None:
        if owner == "sink":
            whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(target, method, killed)
        with pytest.raises(KeyboardInterrupt):
            ledger.flush()
    ledger.close()
    assert stored(uri) != before
    ledger = opened(uri, tmp_path)
    for name in NAMES:
        assert ledger.look(made_item(name), "size 1") in (Verdict.RELABELLED, Verdict.UNCHANGED)
    ledger.flush()
    assert {ledger.look(made_item(name), "size 1") for name in NAMES} == {Verdict.UNCHANGED}
    ledger.close()
    assert stored(uri) == before


def test_each_file_is_written_once_in_whatever_order_titles_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    files = {path.name for path in Path(uri).glob("*.parquet")}
    assert len(files) == 3
    written: list[str] = []
    write = PartFolder.write

    def counted(folder: PartFolder, name: str, tables: Iterable[pa.Table]) -> None:
        written.append(name)
        write(folder, name, tables)

    monkeypatch.setattr(PartFolder, "write", counted)
    ledger = opened(uri, tmp_path, titles=1)
    for name in (*NAMES[::2], *NAMES[1::2]):
        assert ledger.look(changed(name), "size 1") is Verdict.RELABELLED
        ledger.flush_due()
    assert written == []
    monkeypatch.setattr(ledger, "_label_at_s", 0.0)
    ledger.flush_due()
    ledger.flush_due()
    ledger.flush()
    ledger.close()
    assert sorted(written) == sorted(files)
    assert all(has_labels(changed(name), row) for name, row in stored(uri).items())


def test_titles_do_not_wait_until_labels_are_written_to_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    files, written = len(list(Path(uri).glob("*.parquet"))), []
    write = PartFolder.write

    def counted(folder: PartFolder, name: str, tables: Iterable[pa.Table]) -> None:
        written.append(name)
        write(folder, name, tables)

    monkeypatch.setattr(PartFolder, "write", counted)
    monkeypatch.setattr("resonance.clients.ingest.ledger.LABELS_AT_ONCE_S", 1e-9)
    ledger = opened(uri, tmp_path, titles=1)
    for name in NAMES[1:]:
        assert ledger.look(changed(name), "size 1") is Verdict.RELABELLED
    for count in (1, 2):
        monkeypatch.setattr(ledger, "_label_at_s", 0.0)
        ledger.flush_due()
        ledger.flush_due()  # not at once
        assert len(set(written)) == len(written) == count < files
        assert ledger.look(changed(NAMES[0]), "size 1") is (
            Verdict.UNCHANGED if count > 1 else Verdict.RELABELLED
        )
    ledger.flush()  # that of a file that was written comes late
    ledger.close()
    assert len(set(written)) == files
    assert all(has_labels(changed(name), row) for name, row in stored(uri).items())


def test_a_job_that_is_told_to_stop_leaves_them_to_the_next_one(tmp_path: Path) -> None:
    uri, stopping = str(tmp_path / "store"), threading.Event()
    fill(uri, tmp_path)
    ledger = Ledger(tmp_path / "journal.sqlite", uri, SPACE, open_sink, stopping=stopping)
    ledger.look(changed("film 0"), "size 1")
    stopping.set()
    ledger.flush()
    ledger.close()
    assert stored(uri)["film 0"]["tags"] != ["drama"]
    ledger = opened(uri, tmp_path)
    ledger.flush()
    ledger.close()
    assert stored(uri)["film 0"]["tags"] == ["drama"]


def test_the_last_that_is_said_of_a_title_counts(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    before = stored(uri)
    ledger = opened(uri, tmp_path)
    assert ledger.look(changed("film 0"), "size 1") is Verdict.RELABELLED
    ledger.look(replace(changed("film 0"), tags=()), "size 1")
    back = replace(made_item("film 0"), uri=changed("film 0").uri)
    ledger.look(back, "size 1")
    ledger.flush()
    ledger.close()
    assert stored(uri) == before | {"film 0": before["film 0"] | {"uri": back.uri}}


def test_titles_of_an_earlier_journal_are_compared_with_what_is_stored(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in Path(uri).glob("*.parquet")}
    ledger = opened(uri, tmp_path)
    ledger._journal._db.execute("UPDATE titles SET labels = NULL")
    assert ledger.look(made_item("film 0"), "size 1") is Verdict.UNCHANGED
    ledger.flush()
    assert {path: path.stat().st_mtime_ns for path in Path(uri).glob("*.parquet")} == files
    assert ledger.look(changed("film 6"), "size 1") is Verdict.UNCHANGED  # it is not known yet that it is not
    ledger.flush()
    assert stored(uri)["film 6"]["tags"] == ["drama"]
    assert ledger._journal.known("film 0", SPACE.fingerprint).labels == labels_digest(made_item("film 0"))
    ledger.close()


def test_a_sink_that_lost_every_title_is_told_and_filled_again_once_its_journal_is_gone(
    uri: str, tmp_path: Path
) -> None:
    fill(uri, tmp_path)
    sink = open_sink(uri, SPACE)
    sink.remove(NAMES)
    sink.close()
    with pytest.raises(JournalError, match=r"sqlite: 7 titles as stored in .*, which has none; expected the"):
        opened(uri, tmp_path)
    for path in tmp_path.glob("journal.sqlite*"):
        path.unlink()
    fill(uri, tmp_path)
    assert stored(uri).keys() == set(NAMES)


def test_titles_that_a_sink_lost_are_embedded_again_and_told(uri: str, tmp_path: Path) -> None:
    """As those of a file that was damaged and removed, or of a Qdrant back from last week's snapshot."""
    fill(uri, tmp_path)
    lost, failed = NAMES[:2], NAMES[2]
    ledger = opened(uri, tmp_path)
    fault = Fault("NotMediaError", f"{failed}: it cannot be opened", attempts=1, own_fault=True)
    ledger.fail(made_item(failed), "", identity=None, fault=fault)
    ledger.close()
    sink = open_sink(uri, SPACE)
    sink.remove([*lost, failed])
    sink.write(made_rows("of another catalogue", "and one more"), batch="other")  # the number says nothing
    sink.close()
    ledger = opened(uri, tmp_path)
    assert f"{uri} lacks 3 titles that were stored in it, such as film " in ledger.remark
    for name in NAMES:
        verdict = ledger.look(made_item(name), "size 1")
        assert verdict is (Verdict.EMBED if name in (*lost, failed) else Verdict.UNCHANGED)
    assert ledger.begin(made_item(failed), "size 1", f"v1 of {failed}").verdict is Verdict.EMBED
    ledger.close()
    ledger = opened(uri, tmp_path)
    assert ledger.remark == ""
    ledger.close()


def test_titles_that_changed_since_the_copy_that_a_sink_is_back_from_are_embedded_again(
    uri: str, tmp_path: Path
) -> None:
    fill(uri, tmp_path)
    ledger = opened(uri, tmp_path)
    new, failed, labelled, same = NAMES[:4]
    for name in (new, failed):
        assert ledger.begin(made_item(name), "size 2", "v2").verdict is Verdict.EMBED
        ledger.finish(name, "v2", row_bytes(made_row(name, "v2", segments=1)))
    ledger.look(changed(labelled), "size 1")
    ledger.flush()
    fault = Fault("NotMediaError", f"{failed}: it cannot be opened", attempts=1, own_fault=True)
    ledger.fail(made_item(failed), "", identity=None, fault=fault)
    ledger.close()
    after = stored(uri)
    sink = open_sink(uri, SPACE)  # as it was before
    old = [made_row(name, f"v1 of {name}", segments=300 if name == NAMES[1] else 3) for name in NAMES]
    sink.write(pa.concat_tables(old), batch="copy", replaces=NAMES)
    sink.close()
    ledger = opened(uri, tmp_path)
    assert f"{uri} has 2 titles in another version, such as film " in ledger.remark
    assert ledger.stored() == len(NAMES)
    for name in (new, failed):
        assert ledger.look(made_item(name), "size 2") is Verdict.EMBED
        assert ledger.begin(made_item(name), "size 2", "v2").verdict is Verdict.EMBED
        ledger.finish(name, "v2", row_bytes(made_row(name, "v2", segments=1)))
    assert ledger.look(changed(labelled), "size 1") is Verdict.UNCHANGED
    assert ledger.look(made_item(same), "size 1") is Verdict.UNCHANGED
    ledger.flush()
    ledger.close()
    assert stored(uri) == after
    store = open_store(uri, lenient=True)
    assert list(store.faults()) == []
    store.close()
    ledger = opened(uri, tmp_path)
    assert ledger.remark == ""
    ledger.close()


def test_one_failed_request_while_it_is_looked_what_a_sink_has_ends_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    batches, failed = PartFolder.batches, []

    def once(folder: PartFolder, *arguments: Any) -> Iterator[pa.RecordBatch]:
        if not failed:
            failed.append(folder)
            raise StoreError(folder.uri, "503 Slow Down", "an answer")
        return batches(folder, *arguments)

    monkeypatch.setattr(PartFolder, "batches", once)
    ledger = opened(uri, tmp_path)
    assert (len(failed), ledger.remark) == (1, "")
    ledger.close()


def test_a_sink_whose_folder_went_is_told_and_titles_that_were_never_written_are_no_loss(
    tmp_path: Path,
) -> None:
    uri = str(tmp_path / "store")
    ledger = opened(uri, tmp_path)
    assert ledger.begin(made_item("film 0"), "size 1", "v1").verdict is Verdict.EMBED
    ledger.finish("film 0", "v1", row_bytes(made_row("film 0")))
    ledger.close()
    shutil.rmtree(uri)
    opened(uri, tmp_path).close()  # written now
    shutil.rmtree(uri)
    with pytest.raises(JournalError, match="1 titles as stored"):
        opened(uri, tmp_path)


def test_a_title_that_the_sink_loses_while_a_job_runs_stops_nothing(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    fill(uri, tmp_path)
    ledger = opened(uri, tmp_path)
    sink = open_sink(uri, SPACE)
    sink.remove(["film 0"])
    sink.close()
    assert ledger.look(changed("film 0"), "size 1") is Verdict.RELABELLED
    ledger.flush()
    ledger.close()


def test_a_language_that_was_heard_stays_and_the_order_of_attributes_says_nothing() -> None:
    attributes = {"year": "1999", "country": "FR"}
    row = made_row("film").to_pylist()[0] | {"attributes": list(attributes.items())}
    quiet = replace(made_item("film"), language=None, attributes=attributes)
    assert has_labels(quiet, row)
    assert not has_labels(replace(quiet, language="fr"), row)
    other_order = replace(quiet, attributes=dict(reversed(attributes.items())))
    assert has_labels(other_order, row)
    assert labels_digest(other_order) == labels_digest(quiet)
    assert labels_digest(quiet) != labels_digest(replace(quiet, language="en"))
