"""What was done: an embedded SQLite database with one writer, from which a killed job goes on.

A title in a space passes through `State`; its segments are kept from the first on, so that a job that was
killed embeds only what is missing, and its whole row until the sink has it. Rows go to the sink in batches
that are named here first: a batch of which it is not known whether it was written is written again under its
name, which changes nothing where it was.

Everything is committed to disk before a method returns (`synchronous=FULL`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from resonance.clients.ingest.journal_database import JournalDatabase
from resonance.clients.ingest.journal_records import Failure, Fault, Known, State
from resonance.clients.ingest.labels import item_said, labels_digest
from resonance.clients.ingest.types import CatalogueItem

#: Of a space and a state, not seen by a run. A title that is told and cannot be embedded is no such fault.
_DELETE_FAULTS = (
    "DELETE FROM titles WHERE fingerprint = ? AND state = ? AND run != ? AND NOT sunk"
    " AND error_type = 'CatalogueError'"
)
#: In the place of a digest of labels. No catalogue's is the same, so they are compared with what is stored.
_EITHER = "either"
_NONE_STORED = "stored_hash = NULL, stored_identity = NULL, stored_labels = NULL"


class Journal:
    """Opened by one job at a time; used from one thread at a time.

    Args:
        path: of the database; made where it is not there.
        sink_uri: the sink that it speaks of, however it is spelled; of a journal in the sink's own folder,
            wherever that was moved to.

    Raises:
        JournalError: another job has it, it is of another version or another sink, or it is no database.
            Of every method, too: it cannot be read or written.
    """

    def __init__(self, path: Path, sink_uri: str) -> None:
        self.path = path
        self._db = JournalDatabase(path, sink_uri)

    def close(self) -> None:
        """Let another job have it."""
        self._db.close()

    def known(self, media_id: str, fingerprint: str) -> Known | None:
        """What is known of a title."""
        found = self._db.execute(
            "SELECT content_hash, state, uri, identity, labels, said, run, own_fault, stored_hash,"
            " stored_identity FROM titles WHERE media_id = ? AND fingerprint = ?",
            (media_id, fingerprint),
        ).fetchone()
        if found is None:
            return None
        content_hash, state, uri, identity, labels, said, run, own_fault, *stored = found
        return Known(content_hash, State(state), uri, identity, labels, said, run, bool(own_fault), *stored)

    def seen(
        self, media_id: str, fingerprint: str, *, run: str, identity: str | None, uri: str, said: str | None
    ) -> None:
        """A title was found to be unchanged: remember by what it is known without reading it, and what the
        sink is to say of it (`labels_text`) if that is not what it says.
        """
        with self._db.transaction():
            self._db.execute(
                "UPDATE titles SET run = ?, identity = ?, uri = ?, said = ?"
                " WHERE media_id = ? AND fingerprint = ?",
                (run, identity, uri, said, media_id, fingerprint),
            )

    def put_back(self, media_id: str, fingerprint: str) -> Known | None:
        """A title is again what the sink has of it (`Known.stored_hash`): it is as if no other version had
        been begun. Gives what is known now.
        """
        key = (media_id, fingerprint)
        with self._db.transaction():
            self._db.execute(
                "UPDATE titles SET state = ?, content_hash = stored_hash, identity = stored_identity,"
                " labels = stored_labels, row = NULL, error_type = NULL, error = NULL, attempts = NULL,"
                f" own_fault = NULL, changed_s = ?, {_NONE_STORED}"
                " WHERE media_id = ? AND fingerprint = ? AND stored_hash IS NOT NULL",
                (State.STORED, time.time(), *key),
            )
            self._db.execute("DELETE FROM segments WHERE media_id = ? AND fingerprint = ?", key)
        return self.known(*key)

    def begin(
        self, item: CatalogueItem, fingerprint: str, content_hash: str, *, run: str, identity: str | None
    ) -> list[bytes]:
        """Work on this version of a title begins; gives the segments of it that are there, from the first on.

        Segments of other versions are forgotten.
        """
        key = (item.media_id, fingerprint)
        with self._db.transaction():
            self._set_begun(item, fingerprint, content_hash, run, identity)
            self._db.execute(
                "DELETE FROM segments WHERE media_id = ? AND fingerprint = ? AND content_hash != ?",
                (*key, content_hash),
            )
        found = self._db.execute(
            "SELECT number, message FROM segments WHERE media_id = ? AND fingerprint = ? AND content_hash = ?"
            " ORDER BY number",
            (*key, content_hash),
        )
        return [message for at, (number, message) in enumerate(found) if number == at]

    def _set_begun(
        self, item: CatalogueItem, fingerprint: str, content_hash: str, run: str, identity: str | None
    ) -> None:
        """Within a transaction; whether the sink has a version stays as it was, and which one is kept."""
        kept = ", ".join(
            f"stored_{name} = CASE state WHEN '{State.STORED}' THEN {column} ELSE stored_{name} END"
            for name, column in (("hash", "content_hash"), ("identity", "identity"), ("labels", "labels"))
        )
        self._db.execute(
            "INSERT INTO titles (media_id, fingerprint, content_hash, state, uri, identity, labels, run,"
            " sunk, changed_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
            f" ON CONFLICT (media_id, fingerprint) DO UPDATE SET {kept},"
            " content_hash = excluded.content_hash, state = excluded.state, uri = excluded.uri,"
            " identity = excluded.identity, labels = excluded.labels, said = NULL,"
            " run = excluded.run, batch = NULL, row = NULL, error_type = NULL, error = NULL,"
            " attempts = NULL, changed_s = excluded.changed_s",
            (
                item.media_id,
                fingerprint,
                content_hash,
                State.BEGUN,
                item.uri,
                identity,
                labels_digest(item),
                run,
                time.time(),
            ),
        )

    def add_segments(
        self, media_id: str, fingerprint: str, content_hash: str, first: int, messages: Sequence[bytes]
    ) -> None:
        """Keep segments `first`, `first` + 1, ... of a title that was begun."""
        with self._db.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?)",
                (
                    (media_id, fingerprint, content_hash, first + at, message)
                    for at, message in enumerate(messages)
                ),
            )

    def embedded(self, media_id: str, fingerprint: str, content_hash: str, row: bytes) -> bool:
        """Keep a finished title's row; False where this version is not the one that is worked on."""
        with self._db.transaction():
            changed = self._db.execute(
                "UPDATE titles SET state = ?, row = ?, changed_s = ?"
                " WHERE media_id = ? AND fingerprint = ? AND content_hash = ? AND state = ?",
                (State.EMBEDDED, row, time.time(), media_id, fingerprint, content_hash, State.BEGUN),
            ).rowcount
            if changed:
                self._db.execute(
                    "DELETE FROM segments WHERE media_id = ? AND fingerprint = ?", (media_id, fingerprint)
                )
        return bool(changed)

    def to_label(self, fingerprint: str) -> list[str]:
        """Stored titles of which the sink is to say something else than it does."""
        found = self._db.execute(
            "SELECT media_id FROM titles WHERE fingerprint = ? AND said IS NOT NULL AND state = ?",
            (fingerprint, State.STORED),
        )
        return [media_id for (media_id,) in found]

    def said(self, fingerprint: str, media_ids: Iterable[str]) -> list[CatalogueItem]:
        """What the sink is to say of titles, of those of which it is to say anything else."""
        items = []
        for media_id in media_ids:
            (said,) = self._db.execute(
                "SELECT said FROM titles WHERE media_id = ? AND fingerprint = ?", (media_id, fingerprint)
            ).fetchone() or (None,)
            if said is not None:
                items.append(item_said(media_id, said))
        return items

    def labelling(self, items: Iterable[CatalogueItem], fingerprint: str) -> None:
        """The sink is about to say of these titles what is said here: until it does, it may say either."""
        with self._db.transaction():
            self._db.executemany(
                "UPDATE titles SET labels = ? WHERE media_id = ? AND fingerprint = ? AND labels IS NOT NULL",
                ((_EITHER, item.media_id, fingerprint) for item in items),
            )

    def labelled(self, items: Iterable[CatalogueItem], fingerprint: str) -> None:
        """The sink says of these titles what is said here."""
        with self._db.transaction():
            self._db.executemany(
                "UPDATE titles SET labels = ?, said = NULL WHERE media_id = ? AND fingerprint = ?",
                ((labels_digest(item), item.media_id, fingerprint) for item in items),
            )

    def failed(
        self,
        item: CatalogueItem,
        fingerprint: str,
        content_hash: str,
        *,
        run: str,
        identity: str | None,
        fault: Fault,
    ) -> None:
        """Put a title in quarantine. An earlier version of it stays in the sink."""
        with self._db.transaction():
            self._set_begun(item, fingerprint, content_hash, run, identity)
            self._db.execute(
                "UPDATE titles SET state = ?, error_type = ?, error = ?, attempts = ?, own_fault = ?"
                " WHERE media_id = ? AND fingerprint = ?",
                (
                    State.FAILED,
                    fault.error_type,
                    fault.error,
                    fault.attempts,
                    fault.own_fault,
                    item.media_id,
                    fingerprint,
                ),
            )
            self._db.execute(
                "DELETE FROM segments WHERE media_id = ? AND fingerprint = ?", (item.media_id, fingerprint)
            )

    def forget_faults(self, fingerprint: str, *, source: str, folder: str, seen_by: str) -> None:
        """What of a source named no title, and was not seen by the run `seen_by`: it was mended, or is gone.

        Args:
            source: a manifest's rows are named ``SOURCE row N``.
            folder: that all of the source is in, with a slash at its end. What cannot be read there is named
                by its path.
        """
        row = f"{source} row "
        with self._db.transaction():
            self._db.execute(
                f"{_DELETE_FAULTS} AND uri = media_id AND (substr(media_id, 1, ?) = ? OR media_id || '/' = ?"
                " OR substr(media_id, 1, ?) = ? AND media_id NOT GLOB '* row [0-9]*')",
                (fingerprint, State.FAILED, seen_by, len(row), row, folder, len(folder), folder),
            )

    def forget_namesakes(self, fingerprint: str, *, seen_by: str) -> None:
        """Files that had the name of another one, ``NAME (URI)``, where the run `seen_by` has seen the other
        one alone.
        """
        with self._db.transaction():
            self._db.execute(
                f"{_DELETE_FAULTS} AND substr(media_id, -length(uri) - 3) = ' (' || uri || ')' AND EXISTS"
                " (SELECT 1 FROM titles AS other WHERE other.fingerprint = titles.fingerprint"
                " AND other.run = ? AND other.media_id ="
                " substr(titles.media_id, 1, length(titles.media_id) - length(titles.uri) - 3))",
                (fingerprint, State.FAILED, seen_by, seen_by),
            )

    def forget(self, fingerprint: str, media_ids: Iterable[str]) -> None:
        """These titles were never seen, as it were; give them to the sink's `remove` first."""
        ids = [(media_id, fingerprint) for media_id in media_ids]
        with self._db.transaction():
            for table in ("titles", "segments"):
                self._db.executemany(f"DELETE FROM {table} WHERE media_id = ? AND fingerprint = ?", ids)

    def unseen(self, fingerprint: str, run: str, *, ending: str) -> dict[str, bool]:
        """Titles that this run has not come upon, and whether the sink has, or may have, one of each name.

        `ending`: of the names of the runs that saw them last; of others none is given.
        """
        found = self._db.execute(
            "SELECT media_id, sunk FROM titles WHERE fingerprint = ? AND run != ?"
            " AND substr(run, length(run) - length(?) + 1) = ?",
            (fingerprint, run, ending, ending),
        )
        return {media_id: bool(sunk) for media_id, sunk in found}

    def versions_sunk(self, fingerprint: str) -> Generator[tuple[str, str | None], None, None]:
        """Titles that the sink has, or may have, a version of, with its hash where it is known which. Write
        none while this is read; close it.
        """
        found = self._db.execute(
            "SELECT media_id, CASE state WHEN ? THEN content_hash ELSE stored_hash END FROM titles"
            " WHERE fingerprint = ? AND sunk",
            (State.STORED, fingerprint),
        )
        with closing(found):  # an open one would hold the database after `close`
            yield from found

    def lost(self, fingerprint: str, gone: Iterable[str], changed: Iterable[str]) -> None:
        """The sink has no version of the titles `gone`: those that were stored are forgotten. Of those that
        `changed` it has another one: they are to be embedded. What it says of all the others is not known.
        """
        none = [(media_id, fingerprint) for media_id in gone]
        other = [(media_id, fingerprint) for media_id in changed]
        with self._db.transaction():
            self._db.executemany(
                f"DELETE FROM titles WHERE media_id = ? AND fingerprint = ? AND state = '{State.STORED}'",
                none,
            )
            self._db.executemany(
                f"UPDATE titles SET sunk = 0, {_NONE_STORED} WHERE media_id = ? AND fingerprint = ?", none
            )
            self._db.executemany(
                f"UPDATE titles SET state = CASE state WHEN '{State.STORED}' THEN '{State.BEGUN}' ELSE state"
                f" END, {_NONE_STORED} WHERE media_id = ? AND fingerprint = ?",
                other,
            )
            self._db.execute(
                "UPDATE titles SET labels = CASE state WHEN ? THEN NULL ELSE labels END, stored_labels = NULL"
                " WHERE fingerprint = ?",
                (State.STORED, fingerprint),
            )

    def sunk(self, fingerprint: str) -> int:
        """How many titles the sink has, or may have, a version of."""
        found = self._db.execute("SELECT COUNT(*) FROM titles WHERE fingerprint = ? AND sunk", (fingerprint,))
        (count,) = found.fetchone()
        return int(count)

    def open_batch(self, batch: str, fingerprint: str, media_ids: Iterable[str]) -> set[str]:
        """Name the batch that embedded titles are about to be written in; gives those that replace one."""
        ids = [(media_id, fingerprint) for media_id in media_ids]
        replaces: set[str] = set()
        with self._db.transaction():
            for key in ids:
                (sunk,) = self._db.execute(
                    "SELECT sunk FROM titles WHERE media_id = ? AND fingerprint = ?", key
                ).fetchone()
                if sunk:
                    replaces.add(key[0])
            self._db.executemany(
                f"UPDATE titles SET state = ?, batch = ?, sunk = 1, {_NONE_STORED}"
                " WHERE media_id = ? AND fingerprint = ?",
                ((State.WRITING, batch, *key) for key in ids),
            )
        return replaces

    def close_batch(self, batch: str) -> None:
        """The sink has the batch."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE titles SET state = ?, batch = NULL, row = NULL, changed_s = ? WHERE batch = ?",
                (State.STORED, time.time(), batch),
            )

    def open_batches(self, fingerprint: str) -> list[str]:
        """Batches that were named and of which it is not known whether they were written."""
        found = self._db.execute(
            "SELECT DISTINCT batch FROM titles WHERE fingerprint = ? AND batch IS NOT NULL ORDER BY batch",
            (fingerprint,),
        )
        return [batch for (batch,) in found]

    def rows(self, batch: str) -> dict[str, bytes]:
        """The row of each title of a batch, by media id."""
        return dict(self._db.execute("SELECT media_id, row FROM titles WHERE batch = ?", (batch,)))

    def waiting(self, fingerprint: str) -> Iterator[tuple[str, bytes]]:
        """Media id and row of each title that is embedded and in no batch; write none while this is read."""
        return iter(
            self._db.execute(
                "SELECT media_id, row FROM titles WHERE fingerprint = ? AND state = ? ORDER BY media_id",
                (fingerprint, State.EMBEDDED),
            )
        )

    def counts(self, fingerprint: str) -> dict[State, int]:
        """Titles by state."""
        found = self._db.execute(
            "SELECT state, COUNT(*) FROM titles WHERE fingerprint = ? GROUP BY state", (fingerprint,)
        )
        return {State(state): count for state, count in found}

    def failures(self, fingerprint: str) -> Iterator[Failure]:
        """Titles in quarantine, by media id."""
        found = self._db.execute(
            "SELECT media_id, uri, content_hash, error_type, error, attempts, changed_s FROM titles"
            " WHERE fingerprint = ? AND state = ? ORDER BY media_id",
            (fingerprint, State.FAILED),
        )
        return (Failure(*row) for row in found)
