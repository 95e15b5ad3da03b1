"""The one writer: what was done so far, and rows on their way to the sink.

Used from one thread, or as one actor of a cluster; everybody who embeds asks it and tells it. A title is in
the journal before it is in a batch, and a batch before it is in the sink, so a kill at any point loses at
most the requests that were under way.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential_jitter,
)

from resonance.clients.ingest.catalogue import folder_of
from resonance.clients.ingest.errors import JournalError, PruneError, StoreError
from resonance.clients.ingest.journal import Journal
from resonance.clients.ingest.journal_records import Fault, Known, State
from resonance.clients.ingest.labels import labels_digest, labels_text
from resonance.clients.ingest.pending import BatchSize, Pending, read_row
from resonance.clients.ingest.quarantine import write_failures
from resonance.clients.ingest.types import CatalogueItem, Sink
from resonance.clients.ingest.uris import normal
from resonance.clients.results import SpaceRef

_log = logging.getLogger(__name__)
#: How long a sink that cannot be written to is tried before the job gives up; nothing is lost then.
SINK_PATIENCE_S = 120.0
#: How long while it is looked what it has: one failed request of thousands ends no job, and a file that is
#: damaged is told soon.
OPENING_PATIENCE_S = 3.0
#: How long new labels wait for the end of a catalogue, for they may be those of titles of every file of a
#: sink; and as many times longer than writing them took, where that is more. At once it takes so long
#: at most, and a file's time: titles that are embedded meanwhile wait.
LABELS_AGE_S, _LABELS_PAUSE, LABELS_AT_ONCE_S = 300.0, 20.0, 2.0
_REMOVED_AT_ONCE = 1024


class Verdict(StrEnum):
    """What to do with a title of the catalogue."""

    EMBED = "embed"
    UNCHANGED = "unchanged"
    RELABELLED = "relabelled"
    IN_QUARANTINE = "in quarantine"
    TWICE = "twice in the catalogue"


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer to `Ledger.begin`. `done`: segments that are there, as messages, from the first on."""

    verdict: Verdict
    done: Sequence[bytes] = ()


class Ledger:
    """See the module.

    Args:
        space: that of all vectors. retry_failed: try what is in quarantine again, though it has not changed.
        open_sink: called once, with the space.
        stopping: once set, a sink that cannot be written to is not tried again.
        to_remove: only to take titles out, for which the sink may be empty whatever the journal says.
        migrated_from: the store that all titles come from, which alone may prune them.

    Attributes:
        remark: what people should know of what was found when it was opened; empty where that is nothing.

    Raises:
        JournalError, StoreError, SpaceMismatchError: journal or sink cannot be used. The first, too, where
            the journal says that titles are stored and the sink has none.
    """

    def __init__(
        self,
        journal: Path,
        sink_uri: str,
        space: SpaceRef,
        open_sink: Callable[[str, SpaceRef], Sink],
        *,
        batch: BatchSize | None = None,
        retry_failed: bool = False,
        stopping: threading.Event | None = None,
        to_remove: bool = False,
        migrated_from: str | None = None,
    ) -> None:
        self._space, self._fingerprint = space, space.fingerprint
        self._batch = batch or BatchSize()
        self._retry_failed = retry_failed
        self._stopping = stopping or threading.Event()
        self._of = f" of {normal(migrated_from)}" if migrated_from is not None else ""
        self._run = uuid.uuid4().hex + self._of
        self._pending = Pending()
        self.remark = ""
        self._label_at_s = time.monotonic() + LABELS_AGE_S
        self._groups: Iterator[list[str]] | None = None  # of titles that labels are being written to
        self._sink = open_sink(sink_uri, space)
        try:
            self._journal = Journal(journal, sink_uri)
        except BaseException:
            self._sink.close()
            raise
        try:
            if not to_remove:
                self._check_is_there(sink_uri)
            self._recover()
            if not to_remove:
                self._forget_lost(sink_uri)
        except BaseException:
            self.close()
            raise

    def _check_is_there(self, sink_uri: str) -> None:
        """A sink that is gone would be taken for full, for it is the journal that says what is unchanged."""
        stored = self._journal.counts(self._fingerprint).get(State.STORED, 0)
        if stored and self._sink.is_empty():
            raise JournalError(
                str(self._journal.path),
                f"{stored:,} titles as stored in {sink_uri}, which has none",
                "the store back in its place; or remove this journal, and all titles are embedded again",
            )

    def _forget_lost(self, sink_uri: str) -> None:
        """A store may have lost some: a file of it was removed, or it is back from an older copy."""
        for attempt in self._tries(OPENING_PATIENCE_S):
            with attempt, closing(self._journal.versions_sunk(self._fingerprint)) as versions:
                lost = list(self._sink.lacking(versions))
                gone = list(self._sink.lacking((name, None) for name in lost)) if lost else []
        if lost:
            self._journal.lost(self._fingerprint, gone, sorted(set(lost) - set(gone)))
            found = [f"lacks {len(gone):,} titles that were stored in it"] if gone else []
            if others := len(lost) - len(gone):
                found.append(f"has {others:,} titles in another version")
            told = f"{sink_uri} {' and '.join(found)}, such as {lost[0]}"
            self.remark = f"{told}; those of the catalogue are embedded again"

    def _recover(self) -> None:
        """Write what an earlier job had embedded and had not written, or not known to be written."""
        self._write_open_batches()
        while True:
            for media_id, row in self._journal.waiting(self._fingerprint):
                self._pending.add(media_id, row)
                if self._pending.is_full(self._batch):
                    break
            if not self._pending.rows:
                return
            self._write_batches()

    def _write_open_batches(self) -> None:
        for name in self._journal.open_batches(self._fingerprint):
            rows = self._journal.rows(name)
            _log.info("batch %s was begun before: writing its %d titles again", name, len(rows))
            self._write(name, rows, replaces=set(rows))

    def look(self, item: CatalogueItem, identity: str | None) -> Verdict:
        """What can be said without reading the media; EMBED where it has to be read, then see `begin`.

        Of an unchanged title the sink will say what the catalogue does; see `flush`.

        Args:
            identity: by which an unchanged file is known without reading it; None: it has none.
        """
        known = self._journal.known(item.media_id, self._fingerprint)
        if known is None:
            return Verdict.EMBED
        if self._is_of_another(known, item):
            return Verdict.TWICE
        if identity is not None and identity == known.stored_identity:
            known = self._put_back(item.media_id) or known
        if identity is None or known.identity != identity or known.state is State.BEGUN:
            return Verdict.EMBED
        return self._seen(known, item, identity)

    def begin(self, item: CatalogueItem, identity: str | None, content_hash: str) -> Begun:
        """Work on a title begins, unless this version of it is done, or another of its name has begun since
        it was looked up.
        """
        known = self._journal.known(item.media_id, self._fingerprint)
        if known is not None and self._is_of_another(known, item):
            return Begun(Verdict.TWICE)
        if known is not None and known.stored_hash == content_hash:
            known = self._put_back(item.media_id)
        if known is not None and known.content_hash == content_hash and known.state is not State.BEGUN:
            verdict = self._seen(known, item, identity)
            if verdict is not Verdict.EMBED:
                return Begun(verdict)
        self._pending.drop(item.media_id)
        done = self._journal.begin(item, self._fingerprint, content_hash, run=self._run, identity=identity)
        return Begun(Verdict.EMBED, done)

    def _put_back(self, media_id: str) -> Known | None:
        """The version that the sink has is there again, after one that failed or was never finished."""
        self._pending.drop(media_id)
        return self._journal.put_back(media_id, self._fingerprint)

    def _is_of_another(self, known: Known, item: CatalogueItem) -> bool:
        return known.run == self._run and known.uri != item.uri

    def _seen(self, known: Known, item: CatalogueItem, identity: str | None) -> Verdict:
        """What becomes of a title whose media are those that are known."""
        if known.state is State.FAILED and (self._retry_failed or not known.own_fault):
            return Verdict.EMBED
        is_new = known.state is not State.FAILED and labels_digest(item) != known.labels
        said = labels_text(item) if is_new else None
        self._journal.seen(
            item.media_id, self._fingerprint, run=self._run, identity=identity, uri=item.uri, said=said
        )
        if known.state is State.FAILED:
            return Verdict.IN_QUARANTINE
        if said is None or (said == known.said and known.run == self._run):  # told before
            return Verdict.UNCHANGED
        # of a journal from before they were kept it is not known whether anything is different
        return Verdict.RELABELLED if known.labels else Verdict.UNCHANGED

    def add_segments(self, media_id: str, content_hash: str, first: int, messages: Sequence[bytes]) -> None:
        """Keep segments of a title that was begun."""
        self._journal.add_segments(media_id, self._fingerprint, content_hash, first, messages)

    def finish(self, media_id: str, content_hash: str, row: bytes) -> None:
        """Keep a finished title, and write a batch where it is time to.

        Raises:
            StoreError: the sink cannot be written to; the title is safe in the journal.
        """
        if self._journal.embedded(media_id, self._fingerprint, content_hash, row):
            self._pending.add(media_id, row)
        self.flush_due()

    def fail(
        self,
        item: CatalogueItem,
        content_hash: str,
        *,
        identity: str | None,
        fault: Fault,
    ) -> None:
        """Put a title in quarantine; one that is not at fault itself is tried again by the next job."""
        self._pending.drop(item.media_id)
        self._journal.failed(
            item,
            self._fingerprint,
            content_hash,
            run=self._run,
            identity=identity,
            fault=fault,
        )

    def end_catalogue(self, sources: Iterable[str], prune_limit: float | None) -> int:
        """All of `sources` has been asked about: what is gone from them is forgotten.

        Rows, folders and names that are faulty no more leave the quarantine. Titles go from sink and journal
        where there is a `prune_limit`: the largest share of the stored ones that may. Of a migration those go
        that one of the same store was the last to see.

        Returns:
            How many stored titles went.

        Raises:
            PruneError: it would be a larger share; none is removed then. Others: see `finish`.
        """
        for source in sources:
            folder = folder_of(source)
            self._journal.forget_faults(self._fingerprint, source=source, folder=folder, seen_by=self._run)
        self._journal.forget_namesakes(self._fingerprint, seen_by=self._run)
        if prune_limit is None:
            return 0
        self._write_batches()
        unseen = self._journal.unseen(self._fingerprint, self._run, ending=self._of)
        gone, stored = sum(unseen.values()), self._journal.sunk(self._fingerprint)
        if gone > prune_limit * stored:
            raise PruneError(gone, stored, prune_limit)
        self.remove(unseen)
        return gone

    def remove(self, media_ids: Iterable[str]) -> None:
        """Take titles out of sink and journal; should they come again, they are new. Errors: see `finish`."""
        self._write_batches()
        names = list(media_ids)
        for at in range(0, len(names), _REMOVED_AT_ONCE):
            some = names[at : at + _REMOVED_AT_ONCE]
            for attempt in self._tries():
                with attempt:
                    self._sink.remove(some)
            self._journal.forget(self._fingerprint, some)

    def flush_due(self) -> None:
        """Write a batch if it is time to, and new labels that have waited for long. Errors: see `finish`."""
        if self._pending.is_due(self._batch):
            self._write_batches()
        if time.monotonic() >= self._label_at_s:
            self._label(LABELS_AT_ONCE_S)

    def flush(self) -> None:
        """Write all that is embedded, then new labels of titles that are not; once the job is stopping, what
        is left of these stays in the journal for the next one. Errors: see `finish`.
        """
        self._write_batches()
        self._groups = None  # there may be more
        self._label(math.inf)

    def _write_batches(self) -> None:
        self._write_open_batches()  # that the sink would not take a moment ago
        self._write_pending()

    def _label(self, at_most_s: float) -> None:
        """Begin to write new labels, or go on with it, until all are or it took as long."""
        began_s, pause_s = time.monotonic(), LABELS_AGE_S
        if self._groups is None:
            self._groups = self._sink.groups(self._journal.to_label(self._fingerprint))
        for media_ids in self._groups:
            if self._stopping.is_set():
                return
            items = self._journal.said(self._fingerprint, media_ids)
            self._journal.labelling(items, self._fingerprint)
            for attempt in self._tries():
                with attempt:
                    self._sink.relabel({item.media_id: item for item in items})
            self._journal.labelled(items, self._fingerprint)
            if time.monotonic() - began_s >= at_most_s:
                pause_s = 0.0
                break
        else:
            self._groups = None
        ended_s = time.monotonic()
        self._label_at_s = ended_s + max(pause_s, _LABELS_PAUSE * (ended_s - began_s))

    def _write_pending(self) -> None:
        if not self._pending.rows:
            return
        name, rows = uuid.uuid4().hex, self._pending.rows
        self._pending = Pending()
        replaces = self._journal.open_batch(name, self._fingerprint, rows)
        self._write(name, rows, replaces)

    def _write(self, name: str, rows: dict[str, bytes], replaces: set[str]) -> None:
        table = pa.concat_tables([read_row(row) for row in rows.values()])
        for attempt in self._tries():
            with attempt:
                self._sink.write(table, batch=name, replaces=replaces)
        self._journal.close_batch(name)

    def _tries(self, patience_s: float = SINK_PATIENCE_S) -> Retrying:
        """Of the sink. Nobody is answered meanwhile, so one that is away holds the embedding back."""
        return Retrying(
            retry=retry_if_exception_type(StoreError),
            stop=stop_after_delay(patience_s) | stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
            wait=wait_exponential_jitter(multiplier=0.5, max=15),
            reraise=True,
        )

    def stored(self) -> int:
        """How many titles the sink has, those that failed since in an earlier version."""
        return self._journal.sunk(self._fingerprint)

    def write_failures(self, path: Path) -> int:
        """Write what is in quarantine to a Parquet file; gives how many there are."""
        return write_failures(self._journal.failures(self._fingerprint), path)

    def close(self) -> None:
        """Free sink and journal; what is not flushed stays in the journal for the next job."""
        self._sink.close()
        self._journal.close()
