"""The journal: one writer, nothing forgotten, nothing of another version mixed in."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from resonance.clients.ingest.errors import JournalError, StoreError
from resonance.clients.ingest.journal import Journal
from resonance.clients.ingest.journal_records import Failure, Fault, State
from resonance.clients.ingest.journal_schema import VERSION
from resonance.clients.ingest.ledger import Ledger, Verdict
from resonance.clients.ingest.pending import row_bytes
from resonance.clients.ingest.quarantine import write_failures
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from tests.clients.ingest.made import SPACE as SPACE_REF
from tests.clients.ingest.made import made_rows

SPACE, OTHER_SPACE = "a" * 64, "b" * 64
FILM = CatalogueItem(media_id="film", uri="/library/film.mp4")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "state" / "journal.sqlite", "sink")
    yield opened
    opened.close()


def begin(journal: Journal, content_hash: str = "v1", item: CatalogueItem = FILM) -> list[bytes]:
    return journal.begin(item, SPACE, content_hash, run="run", identity="size 1")


def embed(journal: Journal, media_id: str, content_hash: str = "v1") -> None:
    begin(journal, content_hash, CatalogueItem(media_id=media_id, uri=media_id))
    assert journal.embedded(media_id, SPACE, content_hash, f"row of {media_id}".encode())


def test_segments_are_given_back_in_order_to_the_same_version_alone(journal: Journal) -> None:
    assert begin(journal) == []
    journal.add_segments("film", SPACE, "v1", 0, [b"0", b"1"])
    journal.add_segments("film", SPACE, "v1", 2, [b"2"])
    assert begin(journal) == [b"0", b"1", b"2"]
    assert begin(journal, "v2") == []
    assert begin(journal, "v1") == []  # those of v1 were forgotten with v2


def test_segments_after_a_gap_are_left_out(journal: Journal) -> None:
    begin(journal)
    journal.add_segments("film", SPACE, "v1", 0, [b"0"])
    journal.add_segments("film", SPACE, "v1", 2, [b"2"])
    assert begin(journal) == [b"0"]


def test_a_row_of_a_version_that_was_overtaken_is_not_taken(journal: Journal) -> None:
    begin(journal, "v1")
    begin(journal, "v2")
    assert not journal.embedded("film", SPACE, "v1", b"old")
    assert list(journal.waiting(SPACE)) == []
    assert journal.embedded("film", SPACE, "v2", b"new")
    assert list(journal.waiting(SPACE)) == [("film", b"new")]


def test_a_title_goes_through_its_states(journal: Journal) -> None:
    embed(journal, "film")
    known = journal.known("film", SPACE)
    assert known is not None
    assert (known.state, known.content_hash) == (State.EMBEDDED, "v1")
    assert journal.open_batch("batch", SPACE, ["film"]) == set()
    assert journal.open_batches(SPACE) == ["batch"]
    assert journal.rows("batch") == {"film": b"row of film"}
    journal.close_batch("batch")
    assert journal.open_batches(SPACE) == []
    assert journal.counts(SPACE) == {State.STORED: 1}


def test_a_batch_says_which_titles_may_be_in_the_sink_already(journal: Journal) -> None:
    embed(journal, "film")
    embed(journal, "other")
    journal.open_batch("first", SPACE, ["film"])
    journal.close_batch("first")
    embed(journal, "film", "v2")
    assert journal.open_batch("second", SPACE, ["film", "other"]) == {"film"}


def test_a_title_that_failed_keeps_what_the_sink_has(journal: Journal) -> None:
    embed(journal, "film")
    journal.open_batch("first", SPACE, ["film"])
    journal.close_batch("first")
    journal.failed(
        FILM,
        SPACE,
        "v2",
        run="run",
        identity=None,
        fault=Fault("CorruptMediaError", "film.mp4: nothing", attempts=1, own_fault=True),
    )
    (failure,) = journal.failures(SPACE)
    assert (failure.error_type, failure.attempts) == ("CorruptMediaError", 1)
    assert "nothing" in failure.error
    embed(journal, "film", "v3")
    assert journal.open_batch("third", SPACE, ["film"]) == {"film"}  # v1 is still there


def test_spaces_do_not_know_of_each_other(journal: Journal) -> None:
    embed(journal, "film")
    assert journal.known("film", OTHER_SPACE) is None
    assert journal.counts(OTHER_SPACE) == {}


def test_one_job_at_a_time(journal: Journal, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from resonance.clients.ingest import journal, journal_database\n"
        "journal_database.BUSY_TIMEOUT_S = 0.1\n"
        f"journal.Journal(Path({str(journal.path)!r}), 'sink')"
    )
    begin(journal)
    second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "JournalError" in second.stderr
    assert "another job" in second.stderr


def test_a_journal_of_another_sink_is_refused(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match=r"the journal of .*/sink; expected that of elsewhere"):
        Journal(journal.path, "elsewhere")
    Journal(journal.path, "./sink/").close()


def test_a_journal_of_another_version_is_refused(journal: Journal) -> None:
    journal.close()
    with sqlite3.connect(journal.path) as db:
        db.execute("UPDATE about SET value = '99' WHERE name = 'version'")
    db.close()
    with pytest.raises(JournalError, match="version 99; expected version 3 or an earlier one; go on with"):
        Journal(journal.path, "sink")


def make_older(path: Path, version: int) -> None:
    """What an earlier version of this package would have written."""
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX titles_to_label")
        for name in ("said", "stored_hash", "stored_identity", "stored_labels"):
            db.execute(f"ALTER TABLE titles DROP COLUMN {name}")
        if version == 1:
            db.execute("ALTER TABLE titles DROP COLUMN labels")
        db.execute("UPDATE about SET value = ? WHERE name = 'version'", (str(version),))
    db.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_journal_of_an_earlier_version_goes_on(journal: Journal, version: int) -> None:
    embed(journal, "film")
    labels = journal.known("film", SPACE).labels  # type: ignore[union-attr]
    journal.close()
    make_older(journal.path, version)
    again = Journal(journal.path, "sink")
    known = again.known("film", SPACE)
    assert known is not None
    assert (known.labels, known.state) == (None if version == 1 else labels, State.EMBEDDED)
    embed(again, "other")
    again.close()
    Journal(journal.path, "sink").close()


@pytest.mark.parametrize("version", [2, VERSION])
def test_a_title_that_failed_for_a_night_is_what_the_sink_has_of_it(journal: Journal, version: int) -> None:
    embed(journal, "film")
    journal.open_batch("first", SPACE, ["film"])
    journal.close_batch("first")
    before = journal.known("film", SPACE)
    assert before is not None
    journal.close()
    if version < VERSION:
        make_older(journal.path, version)
    again = Journal(journal.path, "sink")
    away = Fault("NotMediaError", "film: it cannot be opened", attempts=1, own_fault=True)
    for _ in range(2):  # nights
        again.failed(FILM, SPACE, "", run="run", identity=None, fault=away)
    failed = again.known("film", SPACE)
    assert failed is not None
    assert (failed.state, failed.stored_hash, failed.stored_identity) == (State.FAILED, "v1", "size 1")
    assert again.put_back("film", SPACE) == replace(before, uri=FILM.uri)
    assert list(again.failures(SPACE)) == []
    begin(again, "v2")
    assert again.embedded("film", SPACE, "v2", b"row")
    again.open_batch("second", SPACE, ["film"])  # from now on it may have either
    known = again.put_back("film", SPACE)
    assert known is not None
    assert (known.state, known.content_hash, known.stored_hash) == (State.WRITING, "v2", None)
    again.close()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_text("not a database, but long enough to be looked at as one " * 40)
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        Journal(path, "sink")
    assert path.read_text().startswith("not a database")


def test_a_damaged_one_is_told_wherever_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    opened = Journal(path, "sink")
    embed(opened, "film")
    opened.open_batch("batch", SPACE, ["film"])
    opened.close()
    with closing(sqlite3.connect(path)) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(titles)") if row[1] != "media_id"]
        many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        copied = f"SELECT media_id || i, {', '.join(names)} FROM titles, n"
        db.execute(f"{many} INSERT INTO titles (media_id, {', '.join(names)}) {copied}")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page, size = 4096, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // page * page)
        file.write(b"\xa5" * 40 * page)
    opened = Journal(path, "sink")
    asked: list[Callable[[], object]] = [
        lambda: opened.unseen(SPACE, "another run", ending=""),
        lambda: list(opened.versions_sunk(SPACE)),
        lambda: opened.rows("batch"),
    ]
    for ask in asked:
        with pytest.raises(JournalError, match=r"journal\.sqlite: database disk image is malformed"):
            ask()
    opened.close()


def test_of_two_titles_of_one_name_looked_up_side_by_side_the_first_to_begin_stays(tmp_path: Path) -> None:
    one, other = (CatalogueItem(media_id="film", uri=f"/library/{name}.mp4") for name in "ab")
    ledger = Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), SPACE_REF, open_sink)
    assert [ledger.look(item, "size 1") for item in (one, other)] == [Verdict.EMBED, Verdict.EMBED]
    assert ledger.begin(one, "size 1", "a's").verdict is Verdict.EMBED
    assert ledger.begin(other, "size 1", "b's").verdict is Verdict.TWICE
    assert ledger.begin(one, "size 1", "a's").verdict is Verdict.EMBED  # tried again
    ledger.close()


def test_a_disk_that_is_full_is_told_and_what_was_written_stays(journal: Journal) -> None:
    embed(journal, "film")
    (pages,) = sqlite_of(journal).execute("PRAGMA page_count").fetchone()
    sqlite_of(journal).execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="database or disk is full; expected a disk that can be written"):
        journal.add_segments("film", SPACE, "v1", 0, [bytes(1 << 20)])
    assert journal.counts(SPACE) == {State.EMBEDDED: 1}


def sqlite_of(journal: Journal) -> sqlite3.Connection:
    return journal._db._db


def test_a_list_of_failures_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "failed.parquet").mkdir()
    failures = [Failure("film", "film.mp4", "", "NotMediaError", "no film", 1, 0.0)]
    with pytest.raises(StoreError, match=r"failed\.parquet: .*directory"):
        write_failures(failures, tmp_path / "failed.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["failed.parquet"]


class FullSink:
    """It takes nothing."""

    def write(self, rows: pa.Table, *, batch: str, replaces: Collection[str] = ()) -> None:
        raise StoreError("sink", "no room", "room")

    def remove(self, media_ids: Collection[str]) -> None:
        raise StoreError("sink", "no room", "room")

    def groups(self, media_ids: Sequence[str]) -> Iterator[list[str]]:
        return iter(())

    def relabel(self, items: Mapping[str, CatalogueItem]) -> None:
        pass

    def find(
        self, media_ids: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        return iter(())

    def lacking(self, titles: Iterable[tuple[str, str | None]]) -> Iterator[str]:
        return (media_id for media_id, _ in titles)

    def is_empty(self) -> bool:
        return True

    def close(self) -> None:
        pass


def test_a_job_that_is_stopped_does_not_wait_for_a_sink(tmp_path: Path) -> None:
    stopping = threading.Event()
    ledger = Ledger(
        tmp_path / "journal.sqlite", "sink", SPACE_REF, lambda uri, space: FullSink(), stopping=stopping
    )
    ledger.begin(FILM, "size 1", "v1")
    threading.Timer(0.5, stopping.set).start()
    row = row_bytes(made_rows("film"))
    began_s = time.monotonic()
    ledger.finish("film", "v1", row)
    with pytest.raises(StoreError, match="no room"):
        ledger.flush()
    assert time.monotonic() - began_s < 30.0
    ledger.close()
