"""What of a live feed may be forgotten, so that its disk stays flat."""

from __future__ import annotations

from resonance.serving.gateway.reading.spool import Spool

#: Bytes kept behind the slowest reader.
RETENTION_BYTES = 64 * 1024 * 1024
#: A reader that took nothing while another read so much is at rest, and waited for no longer.
IDLE_BYTES = 256 * 1024 * 1024


class Retention:
    """Gives bytes back that every reader at work has passed by far.

    Readers of a broken file may stand anywhere: beyond what has come they count as at its end.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._asked = 0
        self._read_bytes = self._received_when_read = 0
        self._seen: dict[tuple[int, int], int] = {}  # a reader's state -> how far the first one was then

    @property
    def unread_bytes(self) -> int:
        """What came since any reader read something."""
        return self._spool.received_bytes - self._received_when_read

    def look(self, handles: list[tuple[int, int]], forgotten: int) -> int | None:
        """Position before which the process shall forget, if that is news.

        Args:
            handles: (position, bytes read) of the process's readers.
            forgotten: what it has forgotten by now; the disk of that alone is given back.
        """
        if forgotten > 0 and forgotten <= self._asked:
            self._spool.forget(forgotten)
        if (read := sum(read for _, read in handles)) != self._read_bytes:
            self._read_bytes, self._received_when_read = read, self._spool.received_bytes
        if not handles:
            return None
        end = self._spool.end_bytes
        first = min(max(at for at, _ in handles), end)
        self._seen = {state: self._seen.get(state, first) for state in handles}
        at_work = [min(state[0], end) for state, since in self._seen.items() if first - since < IDLE_BYTES]
        before = min(at_work, default=first) - RETENTION_BYTES
        if before <= self._asked:
            return None
        self._asked = before
        return before
