"""The encoder server as the explorer sees it: there or away, and what it embeds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from resonance.clients.embedder import Embedder
from resonance.clients.errors import (
    DeadlineExceededError,
    RequestRejectedError,
    ServerError,
    ServerUnavailableError,
    UsageError,
)
from resonance.clients.explorer.remembered import remember, remembered
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceError, SpaceMismatchError
from resonance.space.scores import require_same_space

T = TypeVar("T")
#: A page that waits looks every few seconds; several pages ask the server once.
LOOK_EVERY_S = 4.0
LOOK_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class ServerState:
    """Whether the server answered when it was looked at last; else the kind and text of what was wrong."""

    reachable: bool
    kind: str = ""
    said: str = ""

    @classmethod
    def wrong(cls, error: Exception) -> ServerState:
        """After an error."""
        return cls(False, type(error).__name__, " ".join(str(error).split()))


class EncoderServer:
    """Embeds examples, and looks at the server now and then.

    Args:
        address: for people.
        connect: opens a client with a deadline in seconds for each request (None: its own).
        space: of the library; a server of another one is no use.
        cache: a folder of descriptors seen before.
    """

    def __init__(
        self, address: str, connect: Callable[[float | None], Embedder], space: SpaceRef, cache: Path
    ) -> None:
        self.address = address
        self._connect, self._space, self._cache = connect, space, cache
        self._descriptor = remembered(space.fingerprint, cache)
        self._state = ServerState(False, said="it was not asked yet")
        self._looked_at_s = -LOOK_EVERY_S
        self._lock = asyncio.Lock()

    async def look(self) -> ServerState:
        """The state, at most `LOOK_EVERY_S` old."""
        async with self._lock:
            if time.monotonic() - self._looked_at_s >= LOOK_EVERY_S:
                self._note(await self._asked())
            return self._state

    async def _asked(self) -> ServerState:
        try:
            # a client of its own: one that knows the space already would not ask again
            async with asyncio.timeout(2 * LOOK_TIMEOUT_S), self._connect(LOOK_TIMEOUT_S) as embedder:
                descriptor = await embedder.space()
            require_same_space(self._space.fingerprint, descriptor.fingerprint, self.address)
        except TimeoutError:
            return ServerState.wrong(DeadlineExceededError(f"{self.address} does not answer"))
        except (ServerError, SpaceError, RequestRejectedError, UsageError) as error:
            return ServerState.wrong(error)
        if self._descriptor != descriptor:
            self._descriptor = descriptor
            remember(descriptor, self._cache)
        return ServerState(True)

    @property
    def knows_space(self) -> bool:
        """Whether titles can be ranked while the server is away: `descriptor` needs nobody."""
        return self._descriptor is not None

    async def descriptor(self) -> Descriptor:
        """That of the library's space, from the server or from an earlier day.

        Raises:
            ServerUnavailableError: the server never answered on this machine.
        """
        if self._descriptor is None:
            state = await self.look()
            if self._descriptor is None:
                raise ServerUnavailableError(
                    f"the space {self._space.name} {self._space.fingerprint[:12]} was never seen on this "
                    f"machine, and its encoder server cannot be asked: {state.said}; start it once"
                )
        return self._descriptor

    async def embed(self, ask: Callable[[Embedder], Awaitable[T]]) -> T:
        """What `ask` gets from the server, with a client of its own; that tells whether it answers, too.

        Raises:
            SpaceMismatchError: the server is of another space than the library. Whatever `ask` raises.
        """
        try:
            async with self._connect(None) as embedder:
                descriptor = await embedder.space()
                require_same_space(self._space.fingerprint, descriptor.fingerprint, self.address)
                found = await ask(embedder)
        except (ServerUnavailableError, DeadlineExceededError, SpaceMismatchError) as error:
            self._note(ServerState.wrong(error))
            raise
        self._note(ServerState(True))
        return found

    def _note(self, state: ServerState) -> None:
        self._state, self._looked_at_s = state, time.monotonic()
