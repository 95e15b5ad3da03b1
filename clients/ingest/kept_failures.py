"""The quarantine of a job that has no end of its own, kept on disk while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from resonance.clients.errors import described
from resonance.clients.ingest.embedding import Outcome, Result
from resonance.clients.ingest.errors import JournalError, StoreError

#: The file is written no more often, and takes no larger share of the journal's time.
EVERY_S, LARGEST_SHARE = 10.0, 0.05


class KeptFailures:
    """Writes the file of titles in quarantine whenever it may have changed.

    Args:
        write: does so and gives the number of rows. tell: what it failed with, in a line.
    """

    def __init__(self, write: Callable[[], Awaitable[int]], tell: Callable[[str], None]) -> None:
        self._write, self._tell = write, tell
        self._is_empty = False  # it may be of a job that was killed
        self._changed = asyncio.Event()

    def ended(self, outcome: Outcome) -> None:
        """What became of a title: it may have come into quarantine, or left it."""
        if outcome.result is Result.FAILED or not self._is_empty:
            self._changed.set()

    async def keep(self) -> None:
        """Write it whenever it may have changed. Has no end."""
        told = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            began_s = time.monotonic()
            try:
                self._is_empty = await self._write() == 0
                told = ""
            except (StoreError, JournalError) as error:  # tried again, and at the job's end
                self._changed.set()
                if (line := described(error)) != told:
                    self._tell(line)
                told = line
            await asyncio.sleep(max(EVERY_S, (time.monotonic() - began_s) / LARGEST_SHARE))
