"""Where the gRPC channels of a connection belong: to one event loop of one process, until they are closed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from resonance.clients.errors import UsageError

#: For a connection and all handshakes of it, which gRPC calls the least time between two tries
#: (`grpc.min_reconnect_backoff_ms`). A server a second away needs three or four seconds with TLS; one that
#: takes connections and says nothing is given up after it.
CONNECT_TIMEOUT_MS = 5_000

#: The process that gRPC was first used in; its threads are missing in those forked from it, which would hang.
_first_process: int | None = None


class Belonging:
    """The loop and process of one connection: those of its first call, so that it can be made anywhere.

    Args:
        address: for errors.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def check(self) -> None:
        """Before channels are made or used.

        Raises:
            UsageError: closed before; another event loop; a process forked after gRPC was used.
        """
        global _first_process
        if self._closed:
            raise UsageError(f"{self._address}: asked after it was closed; make another embedder")
        if _first_process is None:
            _first_process = os.getpid()
        elif _first_process != os.getpid():
            raise UsageError(
                f"{self._address}: asked in a process that was forked after gRPC was used, which does not "
                "survive that; start processes with 'spawn', or ask for the first time in the children"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise UsageError(
                f"{self._address}: asked on another event loop than before, and asyncio.run makes one each "
                "time; make an embedder in each, or use SyncEmbedder"
            )

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around a call. gRPC cancels those of a channel that is closed, as if who waits for them were.

        Raises:
            UsageError: see `check`; or closed here meanwhile.
        """
        self.check()
        try:
            yield
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._closed_meanwhile() from cancelled
        except grpc.aio.UsageError as closed:  # a call that was about to begin
            raise self._closed_meanwhile() from closed

    def _closed_meanwhile(self) -> UsageError:
        return UsageError(f"{self._address}: closed here while a call was under way")

    def leave(self) -> bool:
        """Refuse what comes from now on; whether there may be channels to close, of the loop that runs."""
        self._closed = True
        return self._loop is asyncio.get_running_loop()
