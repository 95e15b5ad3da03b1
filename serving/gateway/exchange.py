"""The messages and the answers of one call, each with a bound on how long the caller may pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from resonance.clients.errors import DeadlineExceededError
from resonance.v1 import embedding_pb2 as pb

#: After so long, an answer that was not taken shows a caller who does not read.
UNTAKEN_S = 1.0


class Requests:
    """The caller's messages.

    Raises:
        DeadlineExceededError: it paused for longer than `idle_timeout_s`.
    """

    def __init__(self, messages: AsyncIterator[pb.EmbedMediaRequest], idle_timeout_s: float) -> None:
        self._messages, self._idle_timeout_s = messages, idle_timeout_s

    async def next(self, timeout_s: float | None = None) -> pb.EmbedMediaRequest | None:
        """The next message, None once the caller has finished sending."""
        timeout_s = timeout_s or self._idle_timeout_s
        try:
            async with asyncio.timeout(timeout_s):  # wait_for may swallow a cancellation
                return await anext(self._messages, None)
        except TimeoutError:
            raise DeadlineExceededError(
                f"no message for {timeout_s:g} s; expected media, or the end of sending"
            ) from None


class Answers:
    """Answers to the caller, one after the other.

    Args:
        write: returns once gRPC has taken an answer; it takes a few ahead of a caller who does not read.

    Raises:
        DeadlineExceededError: one was not taken for `idle_timeout_s`.
    """

    def __init__(
        self, write: Callable[[pb.EmbedMediaResponse], Awaitable[None]], idle_timeout_s: float
    ) -> None:
        self._write, self._idle_timeout_s = write, idle_timeout_s
        self._since_s: float | None = None

    @property
    def held_up(self) -> bool:
        """Whether the call waits for a caller who does not read."""
        return self._since_s is not None and time.monotonic() - self._since_s > UNTAKEN_S

    async def give(self, answer: pb.EmbedMediaResponse) -> None:
        """Return once there is room for the next one."""
        self._since_s = time.monotonic()
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                await self._write(answer)
        except TimeoutError:
            raise DeadlineExceededError(
                f"no answer was taken for {self._idle_timeout_s:g} s; expected a caller who reads them"
            ) from None
        finally:
            self._since_s = None
