"""What of a live feed may be forgotten, so that its disk stays flat."""

from __future__ import annotations

from resonance.serving.gateway.reading.spool import Spool

#: Bytes kept behind the slowest reader.
RETENTION_BYTES = 64 * 1024 * 1024
#: A reader that took nothing while another read so much is at rest, and waited for no longer.
IDLE_BYTES = 256 * 1024 * 1024


class Retention:
    """Gives bytes back that every reader at work has passed by far."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._asked = 0
        self._seen: dict[tuple[int, int], int] = {}  # a reader's state -> how far the first one was then

    def look(self, handles: list[tuple[int, int]], forgotten: int) -> int | None:
        """Position before which the process shall forget, if that is news.

        Args:
            handles: (position, bytes read) of the process's readers.
            forgotten: what it has forgotten by now; the disk of that alone is given back.
        """
        if forgotten > 0 and forgotten <= self._asked:
            self._spool.forget(forgotten)
        if not handles:
            return None
        first = max(at for at, _ in handles)
        self._seen = {state: self._seen.get(state, first) for state in handles}
        at_work = [state[0] for state, since in self._seen.items() if first - since < IDLE_BYTES]
        before = min(at_work, default=first) - RETENTION_BYTES
        if before <= self._asked:
            return None
        self._asked = before
        return before
