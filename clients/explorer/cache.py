"""Bytes that are made on demand: each once, a few at a time, the latest kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

from resonance.clients.errors import OverloadedError


class RenderCache:
    """Made in threads of its own; whoever asks for what is being made waits for the same making.

    What failed is not kept, so that media which comes back is seen.

    Args:
        name: what is made, in errors and of the threads.
        max_bytes: of everything kept; the longest unused goes first.
        at_once: made side by side. waiting: how many more may wait.
    """

    def __init__(self, name: str, *, max_bytes: int, at_once: int, waiting: int) -> None:
        self._name, self._max_bytes, self._most = name, max_bytes, at_once + waiting
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=f"resonance-{name}")
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._making: dict[Hashable, asyncio.Future[bytes]] = {}

    async def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What is kept under `key`, or what `make`, which blocks, gives.

        Raises:
            OverloadedError: too much is being made. Whatever `make` raises.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._making:
            if len(self._making) >= self._most:
                raise OverloadedError(f"{self._most} {self._name}s are being made; try again in a moment")
            made = asyncio.get_running_loop().run_in_executor(self._threads, make)
            self._making[key] = made
            made.add_done_callback(lambda done: self._keep(key, done))
        # who asked first may go away; the others still wait for it
        return await asyncio.shield(self._making[key])

    def _keep(self, key: Hashable, made: asyncio.Future[bytes]) -> None:
        del self._making[key]
        if made.cancelled() or made.exception() is not None:
            return
        data = made.result()
        self._kept[key] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > self._max_bytes:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone)

    def close(self) -> None:
        """End the threads once they are done with what they make."""
        self._threads.shutdown(wait=False, cancel_futures=True)
