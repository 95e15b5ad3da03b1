"""The job on one machine: titles side by side on one event loop, one thread that writes.

At most `concurrency` titles are under way and as many wait, so memory does not grow with the catalogue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from resonance.clients.errors import UsageError
from resonance.clients.finishing import to_the_end
from resonance.clients.ingest.catalogue import FaultyRow
from resonance.clients.ingest.embedding import Outcome, TitleWorker
from resonance.clients.ingest.errors import JournalError, StoreError
from resonance.clients.ingest.journal_records import Fault
from resonance.clients.ingest.ledger import Begun, Ledger, Verdict
from resonance.clients.ingest.types import CatalogueItem

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: Rows of a catalogue that are read at once, off the event loop.
ROWS_AT_ONCE = 64
#: How often it is looked whether embedded titles have waited long enough for the sink.
LOOK_EVERY_S = 1.0

#: What a catalogue gives.
Given = CatalogueItem | FaultyRow


class LedgerThread:
    """A `Ledger` in a thread of its own: an `AsyncLedger`, and more that the job alone needs.

    Args:
        make: opens the ledger, in that thread.
    """

    def __init__(self, make: Callable[[], Ledger]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resonance-ledger")
        self._make = make
        self._opened: Ledger | None = None

    async def _run(self, work: Callable[[Ledger], T]) -> T:
        """`work`, in the thread; it runs to its end even where nobody waits for it any more."""

        def run() -> T:
            if self._opened is None:
                self._opened = self._make()
                if self._opened.remark:
                    _log.warning("%s", self._opened.remark)
            return work(self._opened)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def open(self) -> None:
        """Open it, and write what an earlier job left. Errors: see `Ledger`."""
        await self._run(lambda ledger: None)

    async def look(self, item: CatalogueItem, identity: str | None) -> Verdict:
        """See `Ledger.look`."""
        return await self._run(lambda ledger: ledger.look(item, identity))

    async def begin(self, item: CatalogueItem, identity: str | None, content_hash: str) -> Begun:
        """See `Ledger.begin`."""
        return await self._run(lambda ledger: ledger.begin(item, identity, content_hash))

    async def add_segments(
        self, media_id: str, content_hash: str, first: int, messages: Sequence[bytes]
    ) -> None:
        """See `Ledger.add_segments`."""
        await self._run(lambda ledger: ledger.add_segments(media_id, content_hash, first, messages))

    async def finish(self, media_id: str, content_hash: str, row: bytes) -> None:
        """See `Ledger.finish`."""
        await self._run(lambda ledger: ledger.finish(media_id, content_hash, row))

    async def fail(
        self,
        item: CatalogueItem,
        content_hash: str,
        *,
        identity: str | None,
        fault: Fault,
    ) -> None:
        """See `Ledger.fail`."""
        await self._run(lambda ledger: ledger.fail(item, content_hash, identity=identity, fault=fault))

    async def call(self, work: Callable[[Ledger], T]) -> T:
        """Anything else of it."""
        return await self._run(work)

    async def close(self) -> None:
        """Close it and end the thread."""
        if self._opened is not None:
            await self._run(lambda ledger: ledger.close())
        self._thread.shutdown(wait=False)


async def in_thread(items: Iterator[Given]) -> AsyncGenerator[Given, None]:
    """A catalogue that blocks, read ahead of the titles in a thread."""
    while rows := await asyncio.to_thread(lambda: list(islice(items, ROWS_AT_ONCE))):
        for row in rows:
            yield row


async def run_job(
    items: AsyncIterator[Given],
    worker: TitleWorker,
    ledger: LedgerThread,
    *,
    concurrency: int,
    on_begun: Callable[[CatalogueItem], None] = lambda item: None,
    on_ended: Callable[[CatalogueItem], None] = lambda item: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Embed all `items`; returns when each is in the sink or in quarantine.

    Cancelled, it keeps the segments of the titles under way, writes what is embedded, and is cancelled.

    Args:
        concurrency: titles side by side.
        on_begun, on_ended: told of each title, as the catalogue names it, on the event loop.
        on_outcome: told then what became of it, under the name that journal and quarantine have.

    Raises:
        UsageError: a concurrency below 1. StoreError: the sink could not be written to for too long.
        ServerError, RequestRejectedError, SpaceMismatchError: see `TitleWorker.process`.
    """
    if concurrency < 1:
        raise UsageError(f"concurrency is {concurrency}; expected at least 1")
    waiting: asyncio.Queue[Given | None] = asyncio.Queue(maxsize=concurrency)
    sink_is_away = False

    async def read() -> None:
        async for item in items:
            await waiting.put(item)
        for _ in range(concurrency):
            await waiting.put(None)

    async def work() -> None:
        while (item := await waiting.get()) is not None:
            if isinstance(item, FaultyRow):
                outcome = await worker.refuse(item)
            else:
                on_begun(item)
                outcome = await worker.process(item)
                on_ended(item)
            on_outcome(outcome)

    async def write() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await ledger.call(lambda opened: opened.flush_due())

    try:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write())
            async with asyncio.TaskGroup() as titles:
                titles.create_task(read())
                for _ in range(concurrency):
                    titles.create_task(work())
            writing.cancel()
    except BaseExceptionGroup as failed:
        first = first_error(failed)
        sink_is_away = isinstance(first, StoreError | JournalError)
        raise first from None
    finally:
        if not sink_is_away:  # it has been waited for; what is embedded stays in the journal
            await to_the_end(ledger.call(lambda opened: opened.flush()))


def first_error(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a task failed with, out of the groups that it comes in."""
    found: BaseException = failed
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
