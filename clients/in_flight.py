"""Requests that run to their end whatever becomes of who asked: Triton 2.51 may die of cancelled ones.

Calls that were cancelled, or whose deadline passed at the server, ended it with signal 11, one in some
thousand (docs/fuzzing.md). So a caller stops waiting, and the request goes on without it. Inference takes
milliseconds; how many such requests there may be is bounded, and what comes then waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Requests that nobody waits for any more, of one connection.
MOST_LEFT = 64


class InFlight:
    """The requests of one connection."""

    def __init__(self, most_left: int = MOST_LEFT) -> None:
        self._most_left = most_left
        self._all: set[asyncio.Task[Any]] = set()  # a loop alone does not keep tasks from being collected
        self._left: set[asyncio.Task[Any]] = set()

    async def result_of(self, request: Callable[[], Coroutine[Any, Any, T]], *, timeout_s: float) -> T:
        """What `request` gives. Cancelling this, or its timeout, does not cancel the request.

        Raises:
            TimeoutError: no answer in time. Whatever the request raises.
        """
        async with asyncio.timeout(timeout_s):
            while len(self._left) >= self._most_left:
                await asyncio.wait(self._left, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(request())
            self._all.add(task)
            task.add_done_callback(self._forget)
            try:
                return await asyncio.shield(task)
            finally:
                if not task.done():
                    self._left.add(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._all.discard(task)
        if task in self._left:
            self._left.discard(task)
            if not task.cancelled():
                task.exception()  # nobody else asks for it

    async def settle(self, timeout_s: float) -> None:
        """Wait so long for what was left; a connection that closes cancels the rest."""
        if self._left:
            await asyncio.wait(self._left, timeout=timeout_s)
