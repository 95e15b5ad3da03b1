"""One call of `resonance ingest`: its parts put together, and what it says at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, closing
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Any

from rich.console import Console

from resonance.clients.cli.ingest_display import JobDisplay
from resonance.clients.cli.reporting import say_failed, say_warning
from resonance.clients.embedder import Embedder
from resonance.clients.errors import ResonanceError, UsageError, described
from resonance.clients.ingest.catalogue import FaultyRow, check_there
from resonance.clients.ingest.concurrency import titles_side_by_side
from resonance.clients.ingest.embedding import Outcome, TitleWorker
from resonance.clients.ingest.errors import JournalError, StoreError
from resonance.clients.ingest.first_answers import first_answers
from resonance.clients.ingest.job import Given, LedgerThread, in_thread, run_job
from resonance.clients.ingest.kept_failures import KeptFailures
from resonance.clients.ingest.metrics import IngestMetrics
from resonance.clients.ingest.settings import IngestSettings
from resonance.clients.ingest.uris import local_path
from resonance.clients.ingest.watch import watch
from resonance.clients.results import SpaceRef
from resonance.space.errors import SpaceError

_log = logging.getLogger(__name__)
_STOPS = (signal.SIGTERM, signal.SIGINT)


class IngestRun:
    """Put together, run, and told of at the end; see `resonance.clients.cli.ingest.ingest`.

    Attributes:
        failure: what it ended with and has told, where the exit code is 3.
    """

    def __init__(self, settings: IngestSettings, *, json_out: bool) -> None:
        self._settings, self._json_out = settings, json_out
        self._console = Console(stderr=True)
        self._display = JobDisplay(self._console)
        self._stopped_by: signal.Signals | None = None
        self._stopping = threading.Event()
        self._faulty = self._pruned = 0
        self._task: asyncio.Task[int] | None = None
        self._heard_before: dict[signal.Signals, Any] = {}
        self.failure: ResonanceError | SpaceError | None = None

    async def run(self) -> int:
        """The exit code."""
        self._task = asyncio.current_task()
        self._listen_to_signals()
        try:
            return await self._run()
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as error:
            self._tell_error(error)
            if self._stopped_by is None:
                self.failure = error
                return 3
        except asyncio.CancelledError:
            if self._stopped_by is None:
                raise
        finally:
            self._listen_no_more()
        self._console.print("stopped; the same command goes on from here", highlight=False)
        return 128 + self._stopped_by

    def _tell_error(self, error: Exception) -> None:
        say_failed(self._console, described(error))

    def _listen_to_signals(self) -> None:
        for by in _STOPS:
            self._heard_before.setdefault(by, signal.getsignal(by))
            asyncio.get_running_loop().add_signal_handler(by, self._stop, by)

    def _listen_no_more(self) -> None:
        """Whoever listened before does so again: a migration that follows waits for its next look."""
        for by in _STOPS:
            asyncio.get_running_loop().remove_signal_handler(by)
            if self._heard_before[by] is not None:  # a handler of C, which Python cannot put back
                signal.signal(by, self._heard_before[by])

    def _stop(self, by: signal.Signals) -> None:
        if self._stopped_by is None and self._task is not None:  # once; the end is already being made
            self._stopped_by = by
            self._stopping.set()
            self._task.cancel()

    async def _run(self) -> int:
        settings = self._settings
        if not settings.from_store:
            check_there(settings.sources)
        settings.check_failed_path()
        async with AsyncExitStack() as stack:
            embedder = await stack.enter_async_context(
                Embedder(settings.server, credentials=settings.credentials)
            )
            # what waits on a cluster is known to its actors alone
            metrics = stack.enter_context(
                IngestMetrics(settings.metrics_port, knows_waiting=not settings.ray)
            )
            if metrics.port is not None:
                self._console.print(f"metrics at http://127.0.0.1:{metrics.port}/metrics", highlight=False)

            async def asked() -> tuple[SpaceRef, int]:
                side_by_side = settings.concurrency
                if side_by_side is None:
                    side_by_side = await titles_side_by_side(settings.server, settings.credentials)
                return SpaceRef.of(await embedder.space()), side_by_side

            space, concurrency = await first_answers(
                asked, patience_s=settings.patience_s, tell=self._tell_warning
            )
            if not settings.watch and not settings.is_read_by_one_alone:
                is_over = threading.Event()
                counting = asyncio.create_task(self._count(is_over))
                stack.callback(counting.cancel)
                stack.callback(is_over.set)

            def ended(outcome: Outcome) -> None:
                metrics.done(outcome)
                self._display.show(outcome)

            if settings.ray:
                await self._on_ray(space, concurrency, ended)
            else:
                await self._here(embedder, space, concurrency, metrics, ended)
        return 1 if self._display.tally.failed else 0

    async def _here(
        self,
        embedder: Embedder,
        space: SpaceRef,
        concurrency: int,
        metrics: IngestMetrics,
        ended: Callable[[Outcome], None],
    ) -> None:
        settings = self._settings
        ledger = LedgerThread(lambda: settings.open_ledger(space, self._stopping))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(ledger.close)
            await ledger.open()
            stack.push_async_exit(partial(self._end_here, ledger))
            stack.enter_context(self._display)
            if settings.watch:
                ended = self._with_kept_failures(ledger, ended, stack)
            items = await stack.enter_async_context(aclosing(self._items(metrics)))
            await run_job(
                items,
                TitleWorker(embedder, ledger, settings.embed_options),
                ledger,
                concurrency=concurrency,
                on_begun=lambda item: metrics.seen(item.media_id, time.time()),
                on_ended=lambda item: metrics.gone(item.media_id),
                on_outcome=ended,
            )
            limit = self._prune_limit()
            self._pruned = await ledger.call(lambda opened: opened.end_catalogue(settings.sources, limit))

    def _with_kept_failures(
        self, ledger: LedgerThread, ended: Callable[[Outcome], None], stack: AsyncExitStack
    ) -> Callable[[Outcome], None]:
        """`ended`, and the quarantine is written while the job goes on: nobody waits for it to stop."""
        path = self._settings.failed_path
        kept = KeptFailures(
            lambda: ledger.call(lambda opened: opened.write_failures(path)), self._tell_warning
        )
        keeping = asyncio.create_task(kept.keep())
        stack.callback(keeping.cancel)

        def both(outcome: Outcome) -> None:
            kept.ended(outcome)
            ended(outcome)

        return both

    async def _end_here(
        self,
        ledger: LedgerThread,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        path = self._settings.failed_path
        try:
            in_quarantine = await ledger.call(lambda opened: opened.write_failures(path))
            self._tell_end(in_quarantine, await ledger.call(lambda opened: opened.stored()))
        except (StoreError, JournalError) as failed:
            if error is None:
                raise
            self._tell_error(failed)  # what the job ended with comes after it

    async def _on_ray(self, space: SpaceRef, side_by_side: int, ended: Callable[[Outcome], None]) -> None:
        from resonance.clients.ingest.ray_engine import Cluster, RayJob  # only who asks for it has Ray

        settings, loop = self._settings, asyncio.get_running_loop()
        cluster = Cluster(address=settings.ray_address, workers=settings.workers, side_by_side=side_by_side)

        job = await asyncio.to_thread(RayJob, cluster, partial(settings.open_ledger, space))
        self._listen_to_signals()  # Ray has put handlers of its own in their place

        def work() -> None:
            with closing(job):
                try:
                    outcomes = job.run(
                        self._catalogue(),
                        settings.server,
                        settings.credentials,
                        settings.embed_options,
                    )
                    for outcome in outcomes:
                        loop.call_soon_threadsafe(ended, outcome)
                    if self._stopped_by is None:
                        self._pruned = job.call("end_catalogue", settings.sources, self._prune_limit())
                finally:
                    in_quarantine = job.call("write_failures", settings.failed_path)
                    loop.call_soon_threadsafe(self._tell_end, in_quarantine, job.call("stored"))

        with self._display:
            working = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                await asyncio.shield(working)
            finally:
                job.stop()
                await asyncio.gather(working, return_exceptions=True)  # it writes what is embedded

    def _items(self, metrics: IngestMetrics) -> AsyncGenerator[Given, None]:
        settings = self._settings
        if settings.watch:
            folder = local_path(settings.sources[0])
            assert folder is not None  # IngestSettings has looked
            return watch(
                folder,
                on_seen=lambda item, seen_at_s: metrics.seen(item.media_id, seen_at_s),
                on_gone=lambda item: metrics.gone(item.media_id),
            )
        return in_thread(self._catalogue())

    def _catalogue(self) -> Iterator[Given]:
        """The catalogue, while it is counted how much of it names no title."""
        for given in self._settings.catalogue():
            self._faulty += isinstance(given, FaultyRow)
            yield given

    def _prune_limit(self) -> float | None:
        """At the end of the catalogue: what is in a row or folder that cannot be read would seem gone."""
        limit = self._settings.prune_limit
        if limit is not None and self._faulty:
            self._tell_warning(f"nothing is pruned: {self._faulty:,} parts of the catalogue name no title")
            return None
        return limit

    def _tell_warning(self, line: str) -> None:
        say_warning(self._console, line)

    async def _count(self, is_over: threading.Event) -> None:
        """The catalogue a second time, for its length alone, while the first titles are embedded.

        A thread cannot be cancelled, and the process waits for it to end: it looks whether the job `is_over`.
        """

        def count() -> int:
            return sum(1 for _ in takewhile(lambda _: not is_over.is_set(), self._settings.catalogue()))

        try:
            self._display.expect(await asyncio.to_thread(count))
        except (ResonanceError, SpaceError) as error:
            _log.debug("the catalogue cannot be counted: %s", error)  # reading it tells everybody

    def _tell_end(self, in_quarantine: int, stored: int) -> None:
        """What people look at afterwards, however the job ended."""
        path, tally = self._settings.failed_path, self._display.tally
        if self._json_out:
            summary = {
                "embedded": tally.embedded,
                "unchanged": tally.unchanged,
                "relabelled": tally.relabelled,
                "failed": tally.failed,
                "pruned": self._pruned,
                "media_s": round(tally.media_s, 3),
                "stored": stored,
                "in_quarantine": in_quarantine,
                "quarantine": str(path),
            }
            print(json.dumps(summary), flush=True)
            return
        self._console.print(
            f"{tally.embedded:,} embedded, {self._display.figures()}; {stored:,} stored in all"
            + (f", {self._pruned:,} pruned" if self._pruned else "")
            + (f", {in_quarantine:,} in quarantine: {path}" if in_quarantine else ""),
            highlight=False,
            soft_wrap=True,
        )
