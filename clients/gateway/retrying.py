"""When a call is tried again, and how long to wait before."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from resonance.clients.errors import OverloadedError, ServerError, UsageError
from resonance.clients.transport import RETRIED

#: A full server that asks for less knows when a place will be free, and has spread its callers over it.
SOON_S = 2.0
#: How much longer than it asks such a wait may be.
_SPREAD = 0.25


def may_retry(error: Exception) -> bool:
    """Whether the same call may succeed after a while."""
    return isinstance(error, RETRIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to go on trying without any progress.

    Attributes:
        attempts: tries in all; a new segment starts the count again. A full server that says to come again
            within `SOON_S` is not counted, unless there is one try: that may be in 50 ms. It is asked until
            `retry_for_s` is over.
        retry_for_s: seconds in all, likewise.
        first_wait_s, most_wait_s: the bound of the wait doubles from the first to the most. A wait is random
            below its bound, so that callers who were cut off together do not come back together. Where a try
            is not counted, the bound is a quarter of what the server asks for, at least the first.
    """

    attempts: int = 10
    retry_for_s: float = 300.0
    first_wait_s: float = 0.2
    most_wait_s: float = 15.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UsageError(f"attempts is {self.attempts}; expected at least 1")
        for name in ("retry_for_s", "first_wait_s", "most_wait_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}; expected a finite number of seconds, at least 0")


class Retrying:
    """Counts the tries of one call. `chance` gives 0 to 1; tests give their own."""

    def __init__(self, policy: RetryPolicy, *, chance: Callable[[], float] = random.random) -> None:
        self._policy, self._chance = policy, chance
        self._failed = 0
        self._since = time.monotonic()

    def progressed(self) -> None:
        """Something new arrived: the count and the clock start again."""
        self._failed = 0
        self._since = time.monotonic()

    def next_wait_s(self, error: Exception) -> float | None:
        """How long to wait after `error`, at least as the server asks for; None: give up."""
        policy = self._policy
        asked_s = (error.retry_after_s or 0.0) if isinstance(error, ServerError) else 0.0
        if isinstance(error, OverloadedError) and 0 < asked_s < SOON_S:
            most_s = min(max(_SPREAD * asked_s, policy.first_wait_s), policy.most_wait_s)
        else:
            self._failed += 1
            most_s = min(policy.first_wait_s * 2.0 ** (self._failed - 1), policy.most_wait_s)
        wait_s = asked_s + most_s * self._chance()
        spent_s = time.monotonic() - self._since
        if policy.attempts == 1 or self._failed >= policy.attempts or spent_s + wait_s > policy.retry_for_s:
            return None
        return wait_s

    async def wait_after(self, error: Exception) -> None:
        """Wait before the next try, or raise `error` where there is none."""
        wait_s = self.next_wait_s(error)
        if wait_s is None:
            raise error
        await asyncio.sleep(wait_s)
