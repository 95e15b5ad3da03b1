"""Calls that run, and how one is ended from outside: by its successor, or because the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from resonance.clients.errors import ServerUnavailableError, SupersededError

#: When callers who were sent away may come back: another gateway, or this one started again, takes a moment.
RETRY_AFTER_STOP_S = 1.0


class Ending:
    """Raised into a call from outside; the call waits on `asked` beside its own work."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self.asked: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def end(self, error: Exception) -> None:
        """Let the call fail with `error`, once."""
        if not self.asked.done():
            self.asked.set_result(error)


class RunningCalls:
    """The calls of EmbedMedia, by caller and idempotency key where they have one."""

    def __init__(self) -> None:
        self._endings: set[Ending] = set()
        self._by_key: dict[tuple[str, str], Ending] = {}
        self._none = asyncio.Event()
        self._none.set()

    async def wait_none(self) -> None:
        """Return when no call runs."""
        await self._none.wait()

    @contextmanager
    def running(self, caller: str, key: str | None, *, live: bool) -> Iterator[Ending]:
        """For as long as a call runs. An earlier one of the same caller and key is ended."""
        ending = Ending(live=live)
        name = (caller, key) if key is not None else None
        if name is not None:
            if (earlier := self._by_key.get(name)) is not None:
                earlier.end(SupersededError("a later call with the same idempotency key took its place"))
            self._by_key[name] = ending
        self._endings.add(ending)
        self._none.clear()
        try:
            yield ending
        finally:
            self._endings.discard(ending)
            if not self._endings:
                self._none.set()
            if name is not None and self._by_key.get(name) is ending:
                del self._by_key[name]

    def end_all(self, *, live_only: bool) -> None:
        """Send callers away: live feeds as soon as the gateway is to stop, all once it has to."""
        for ending in self._endings:
            if ending.live or not live_only:
                ending.end(
                    ServerUnavailableError(
                        "the gateway is being stopped; call again with the segments so far",
                        retry_after_s=RETRY_AFTER_STOP_S,
                    )
                )
