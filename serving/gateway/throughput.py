"""What was answered over the last minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates over the last minute, or since the start where that is less."""

    segments_per_s: float
    media_s_per_s: float


class ThroughputMeter:
    """Counts in buckets of a second, so its size does not grow with the load.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_s = clock()
        self._buckets: deque[tuple[int, int, float]] = deque()  # second, segments, seconds of media

    def add(self, media_s: float) -> None:
        """A segment of `media_s` was answered."""
        second = int(self._clock())
        segments = 0
        if self._buckets and self._buckets[-1][0] == second:
            _, segments, before_s = self._buckets.pop()
            media_s += before_s
        self._buckets.append((second, segments + 1, media_s))
        self._forget()

    def now(self) -> Throughput:
        """The rates."""
        self._forget()
        span_s = min(max(self._clock() - self._started_s, 1.0), _WINDOW_S)
        return Throughput(
            sum(bucket[1] for bucket in self._buckets) / span_s,
            sum(bucket[2] for bucket in self._buckets) / span_s,
        )

    def _forget(self) -> None:
        oldest = self._clock() - _WINDOW_S
        while self._buckets and self._buckets[0][0] < oldest:
            self._buckets.popleft()
