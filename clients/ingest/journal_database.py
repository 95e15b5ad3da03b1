"""The SQLite file of a journal: opened by one job at a time, brought up to date, its errors in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resonance.clients.ingest.errors import JournalError
from resonance.clients.ingest.journal_schema import NEXT_VERSION, SCHEMA, VERSION
from resonance.clients.ingest.state_files import is_inside
from resonance.clients.ingest.uris import normal

#: How long another job's end is waited for, as when it was told to stop a moment ago.
BUSY_TIMEOUT_S = 5.0


class JournalDatabase:
    """SQLite's connection.

    Args:
        path: made where it is not there.
        sink_uri: the sink that the journal speaks of; see `Journal`.

    Raises:
        JournalError: another job has it, it is of another version or another sink, or it is no database.
            Of every method, too: it cannot be read or written.
    """

    def __init__(self, path: Path, sink_uri: str) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise JournalError(str(path), str(error), "a path that can be written") from error
        try:
            self._open(sink_uri)
        except BaseException:
            self.close()
            raise

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """As of a connection. Rows are read while they are taken, and each may be one that cannot be read."""
        rows = self._db.cursor(_Rows)
        rows.path = self._path
        with _told(self._path):
            return rows.execute(statement, values)

    def executemany(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        """As of a connection."""
        with _told(self._path):
            self._db.executemany(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is done inside, or nothing; on disk once it is left."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # SQLite has rolled back by itself where its disk is full
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def close(self) -> None:
        """Let another job have it."""
        self._db.close()

    def _open(self, sink_uri: str) -> None:
        # exclusive from the first access to the end of the process, however it ends
        self.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = FULL")
        with self.transaction():
            if self.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone() is None:
                for statement in SCHEMA.split(";\n"):
                    self.execute(statement)
                about = {"version": str(VERSION), "sink": normal(sink_uri)}
                self.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            self._bring_up_to_date()
        about = self._about()
        if about.get("version") != str(VERSION):
            raise JournalError(
                str(self._path),
                f"version {about.get('version')}",
                f"version {VERSION} or an earlier one; go on with the later release that it is of, or bring "
                "it and the store back from copies of before (docs/upgrading.md)",
            )
        sink = normal(sink_uri)
        if normal(about["sink"]) != sink and not is_inside(self._path, sink_uri):
            raise JournalError(
                str(self._path),
                f"the journal of {about['sink']}",
                f"that of {sink_uri}; name another one, or tell this one where it was moved (docs/stores.md)",
            )
        if about["sink"] != sink:  # moved, or of an earlier version that kept names as they were
            self.execute("UPDATE about SET value = ? WHERE name = 'sink'", (sink,))

    def _bring_up_to_date(self) -> None:
        """Within a transaction."""
        while (version := self._about().get("version", "")) in NEXT_VERSION:
            for statement in NEXT_VERSION[version]:
                self.execute(statement)
            self.execute("UPDATE about SET value = ? WHERE name = 'version'", (str(int(version) + 1),))

    def _about(self) -> dict[str, str]:
        return dict(self.execute("SELECT name, value FROM about"))


class _Rows(sqlite3.Cursor):
    """What a statement finds."""

    path: Path

    def __next__(self) -> Any:
        with _told(self.path):
            return super().__next__()

    def fetchone(self) -> Any:
        with _told(self.path):
            return super().fetchone()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        came, expected = str(error), "a disk that can be written and has room"
        if "locked" in came:
            came, expected = "another job is using it", "one job at a time for a journal"
        raise JournalError(str(path), came, expected) from error
    except sqlite3.DatabaseError as error:
        raise JournalError(str(path), str(error), "a journal that this command made") from error
