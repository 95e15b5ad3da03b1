"""Calls that run, and how one is ended from outside: by its successor, or because the gateway stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from resonance.clients.errors import ServerUnavailableError, SupersededError

#: When callers who were sent away may come back: another gateway, or this one started again, takes a moment.
RETRY_AFTER_STOP_S = 1.0
#: How long a call waits for the place of an earlier one, which only has to end its process.
LEAVING_S = 2.0


class Endable:
    """Work that can be ended from outside, wherever it waits."""

    def __init__(self) -> None:
        self._scope = asyncio.timeout(None)
        self._error: Exception | None = None

    @asynccontextmanager
    async def until_ended(self) -> AsyncIterator[None]:
        """What is done inside is cancelled by `end`, whose error is raised."""
        try:
            async with self._scope:
                yield
        except TimeoutError:
            if self._error is None or not self._scope.expired():
                raise
            raise self._error from None

    def end(self, error: Exception) -> None:
        """Let it fail with `error`, once."""
        if self._error is None:
            self._error = error
            self._scope.reschedule(asyncio.get_running_loop().time())


class Running(Endable):
    """One call.

    Attributes:
        live: whether it is a live feed.
        over: set once it has left its place.
    """

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self.live = live
        self.over = asyncio.Event()


class RunningCalls:
    """The calls of EmbedMedia, by caller and idempotency key where they have one."""

    def __init__(self) -> None:
        self._calls: set[Running] = set()
        self._by_key: dict[tuple[str, str], Running] = {}
        self._none = asyncio.Event()
        self._none.set()

    async def wait_none(self) -> None:
        """Return when no call runs."""
        await self._none.wait()

    @asynccontextmanager
    async def running(self, caller: str, key: str | None, *, live: bool) -> AsyncIterator[Running]:
        """For as long as a call runs, from before it asks for a place.

        An earlier call of the same caller and key is ended first, and its place left.

        Raises:
            SupersededError: a later one came. ServerUnavailableError: the gateway stops.
        """
        call = Running(live=live)
        async with call.until_ended():
            try:
                await self._take_over(call, caller, key)
                yield call
            finally:
                self._leave(call, caller, key)

    def end_all(self, *, live_only: bool) -> None:
        """Send callers away: live feeds as soon as the gateway is to stop, all once it has to."""
        for call in self._calls:
            if call.live or not live_only:
                call.end(
                    ServerUnavailableError(
                        "the gateway is being stopped; call again with the segments so far",
                        retry_after_s=RETRY_AFTER_STOP_S,
                    )
                )

    async def _take_over(self, call: Running, caller: str, key: str | None) -> None:
        earlier = self._by_key.get((caller, key)) if key is not None else None
        if key is not None:
            self._by_key[caller, key] = call
        self._calls.add(call)
        self._none.clear()
        if earlier is not None:
            earlier.end(SupersededError("a later call with the same idempotency key took its place"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVING_S):
                    await earlier.over.wait()

    def _leave(self, call: Running, caller: str, key: str | None) -> None:
        call.over.set()
        self._calls.discard(call)
        if not self._calls:
            self._none.set()
        if key is not None and self._by_key.get((caller, key)) is call:
            del self._by_key[caller, key]
