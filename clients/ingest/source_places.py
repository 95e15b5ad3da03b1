"""Where media is, host by host: which do not answer, and what that means for their titles and for the job.

One host that is gone must not keep a catalogue from being embedded, and a store that is away for a minute
must not send a library to quarantine. So the titles of a place wait for it together, from the first that
found it away for a tenth of what the job would wait. After that each is tried once and given up, at a pace,
for the next job to try again. Where no place answers at all any more, the job ends as it does without its
server.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from resonance.clients.ingest.errors import SourceUnavailableError

_log = logging.getLogger(__name__)
#: How long the titles of a place wait for it, of what the job waits: a minute by default, in which a store
#: restarts.
_SHARE = 0.1
#: Before a title of a place that is past that is given up: what a short outage can cost, titles a second.
PACE_S = 1.0


class SourcePlaces:
    """Of the titles of one job.

    Args:
        patience_s: how long the job waits where nothing answers. clock: in seconds.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._away_since_s: dict[str, float] = {}
        self._answered_s = clock()

    def answered(self, uri: str) -> None:
        """The place of `uri` gave what it was asked for."""
        self._answered_s = self._clock()
        self._away_since_s.pop(place_of(uri), None)

    def is_given_up(self, error: SourceUnavailableError) -> bool:
        """Whether the title that met `error` need wait no longer.

        Raises:
            SourceUnavailableError: `error`, where no place answered for as long as the job is to wait.
        """
        now_s, place = self._clock(), place_of(error.uri)
        if place not in self._away_since_s:
            _log.warning("%s; titles there wait up to %g s for it", error, _SHARE * self._patience_s)
        away_s = now_s - self._away_since_s.setdefault(place, now_s)
        if min(away_s, now_s - self._answered_s) >= self._patience_s:
            raise error
        return away_s >= _SHARE * self._patience_s


def place_of(uri: str) -> str:
    """Host of a URL, bucket of a store's URI."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"
