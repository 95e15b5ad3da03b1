"""Who is let in: places for uploads, live feeds and queries, and for segments at the models.

Uploads come as fast as they can be taken, so a place is a share of the machine, and only so many are given
that an accepted one is not slowed to a crawl; the others are refused at once, told when to come again. An
upload whose caller is slow keeps nothing busy and holds no place meanwhile. Live feeds come in real time and
cannot come again later: they have a bound of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from resonance.clients.errors import OverloadedError
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.places import OnRefused, Places
from resonance.serving.gateway.reasons import Refusal
from resonance.serving.gateway.shares import Share, make_room


class Stream:
    """A call of EmbedMedia that was let in. `is_busy` is asked whenever another one wants in.

    Attributes:
        stored: its share of the segments of earlier calls that are held, see `Admission.store`.
    """

    def __init__(self, caller: str, *, live: bool) -> None:
        self.caller, self.live = caller, live
        self.stored = Share(caller)
        self.is_busy: Callable[[], bool] = lambda: True


class Admission:
    """Lets calls in and counts them."""

    def __init__(self, limits: GatewayLimits, on_refused: OnRefused) -> None:
        self._limits, self._on_refused = limits, on_refused
        self._streams: set[Stream] = set()
        self._queries: Counter[str] = Counter()
        self.segments_in_flight = 0
        self._segment_places = asyncio.Semaphore(limits.max_segments_in_flight)
        self._upload_places = Places(
            what="uploads",
            most=limits.max_uploads,
            max_queued=limits.max_queued,
            queue_timeout_s=limits.queue_timeout_s,
            busy=self._busy_uploads,
            on_refused=on_refused,
        )
        self._query_places = Places(
            what="queries",
            most=limits.max_queries,
            max_queued=limits.max_queued_queries,
            queue_timeout_s=limits.queue_timeout_s,
            busy=lambda: self._queries,
            on_refused=on_refused,
        )

    @property
    def uploads(self) -> int:
        """Uploads let in."""
        return sum(not s.live for s in self._streams)

    @property
    def live_feeds(self) -> int:
        """Live feeds let in."""
        return sum(s.live for s in self._streams)

    @property
    def queries(self) -> int:
        """Queries let in."""
        return self._queries.total()

    @property
    def queued(self) -> int:
        """Calls that wait for a place."""
        return len(self._upload_places.queue) + len(self._query_places.queue)

    @asynccontextmanager
    async def stream(self, caller: str, *, live: bool) -> AsyncIterator[Stream]:
        """A place for a call of EmbedMedia.

        Raises:
            OverloadedError: over a bound.
        """
        limits = self._limits
        per_caller = Counter(s.caller for s in self._streams)[caller]
        if per_caller >= limits.max_streams_per_caller:
            self._on_refused(Refusal.CALLER_STREAMS)
            raise OverloadedError(
                f"{per_caller} streams of this caller; expected at most {limits.max_streams_per_caller}",
                retry_after_s=limits.queue_timeout_s,
            )
        if live and self.live_feeds >= limits.max_live_feeds:
            self._on_refused(Refusal.LIVE_FEEDS)
            raise OverloadedError(
                f"{self.live_feeds} live feeds; expected at most {limits.max_live_feeds}",
                retry_after_s=limits.queue_timeout_s,
            )
        if not live:
            await self._upload_places.enter(caller)
        stream = Stream(caller, live=live)
        self._streams.add(stream)
        let_in_s = time.monotonic()
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            if not live:
                # its pauses count, too, though it kept no place then: others may come later than they could
                self._upload_places.left(time.monotonic() - let_in_s)

    def store(self, stream: Stream, segments: int) -> None:
        """Let a call hold so many segments of earlier ones, in memory until it ends.

        Raises:
            OverloadedError: over the bound of all calls together. A caller who holds over twice as much
                then loses a call.
        """
        others = sum(s.stored.held for s in self._streams) - stream.stored.held
        if others + segments > self._limits.max_stored_segments:
            self._on_refused(Refusal.STORED)
            more = segments - stream.stored.held
            make_room([s.stored for s in self._streams], stream.caller, more, "stored segments")
            raise OverloadedError(
                f"{segments:,} stored segments beside {others:,} of other calls; expected at most "
                f"{self._limits.max_stored_segments:,} together; come again",
                retry_after_s=self._limits.queue_timeout_s,
            )
        stream.stored.held = segments

    @asynccontextmanager
    async def query(self, caller: str) -> AsyncIterator[None]:
        """A place for a call of `caller` that is answered once.

        Raises:
            OverloadedError: over a bound.
        """
        await self._query_places.enter(caller)
        self._queries[caller] += 1
        let_in_s = time.monotonic()
        try:
            yield
        finally:
            self._queries[caller] -= 1
            self._queries += Counter()  # keeps no names of callers who have none under way
            self._query_places.left(time.monotonic() - let_in_s)

    @asynccontextmanager
    async def segment(self) -> AsyncIterator[None]:
        """A place for a segment at the models; waits for one."""
        async with self._segment_places:
            self.segments_in_flight += 1
            try:
                yield
            finally:
                self.segments_in_flight -= 1

    def _busy_uploads(self) -> Counter[str]:
        return Counter(s.caller for s in self._streams if not s.live and s.is_busy())
