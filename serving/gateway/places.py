"""Places of one kind and the line before them, shared fairly between callers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from resonance.clients.errors import OverloadedError
from resonance.serving.gateway.reasons import Refusal

#: How often the first of those who wait looks whether a place has become free without anybody leaving.
LOOK_S = 0.02

#: Nobody is told to come again sooner: a place that is just being left is not free on the way to the caller.
LEAST_RETRY_S = 0.05
#: How long a place is kept, until calls have told; then their moving mean, of which the last one is so much.
FIRST_KEPT_S, KEPT_SHARE = 0.1, 0.1

#: Told why a call was refused, for metrics.
OnRefused = Callable[[Refusal], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """A call in the line. `turn`: set when it is to look."""

    caller: str
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    displaced: bool = False


@dataclass(slots=True)
class Places:
    """Places, and those who wait for one: first whose caller keeps the fewest busy, then who came first.

    So a caller who sends all the time leaves its share to others, and has all places where there are none. A
    full line is no wall around them either: who has at least two calls more, waiting or busy, than who comes
    gives up the last of its own that waits.

    Who is refused is told to come again when a place may be free: behind those who wait, and behind those who
    were told so before and are yet to come, each after as long as places really take. Told all the same, they
    would come all at once, to be refused again.

    Args:
        what: in words, for errors. most: places. busy: how many of each caller's keep theirs busy now.
        queue_timeout_s: how long one waits; nobody is told to come again later than that.
    """

    what: str
    most: int
    max_queued: int
    queue_timeout_s: float
    busy: Callable[[], Counter[str]]
    on_refused: OnRefused
    queue: list[Waiting] = field(default_factory=list)
    _kept_s: float = FIRST_KEPT_S
    _told_until: float = 0.0  # monotonic: when all who were told to come again have

    async def enter(self, caller: str) -> None:
        """Return once there is a place for a call of `caller`, which then counts as busy.

        Raises:
            OverloadedError: all places are taken and as many wait as may, it was displaced, or none became
                free in time.
        """
        if not self.queue and self._are_free():
            return
        if len(self.queue) >= self.max_queued:
            self._make_room(caller)
        waiting = Waiting(caller)
        self.queue.append(waiting)
        deadline = time.monotonic() + self.queue_timeout_s
        try:
            while (first := self._first()) is not waiting or not self._are_free():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise self._refused(
                        Refusal.QUEUE_TIMEOUT, f"no place became free in {self.queue_timeout_s:g} s"
                    )
                waiting.turn.clear()
                if first is not waiting:
                    first.turn.set()  # it may not know yet that it is the first
                # the first alone looks; it wakes the next when it goes, so a long line costs nothing
                look_s = min(LOOK_S, left_s) if first is waiting else left_s
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(look_s):
                        await waiting.turn.wait()
                if waiting.displaced:
                    raise self._full()
        finally:
            if not waiting.displaced:
                self.queue.remove(waiting)
            self._look()  # the next one is the first now

    def left(self, kept_s: float) -> None:
        """A place that was kept so long is free: the first who waits looks at once, not `LOOK_S` later."""
        # what takes longer makes no longer delay, and shall not count for more after it
        kept_s = min(kept_s, self.queue_timeout_s * self.most)
        self._kept_s += KEPT_SHARE * (kept_s - self._kept_s)
        self._look()

    def _look(self) -> None:
        if self.queue:
            self._first().turn.set()

    def _are_free(self) -> bool:
        return self.busy().total() < self.most

    def _first(self) -> Waiting:
        busy = self.busy()
        return min(self.queue, key=lambda waiting: busy[waiting.caller])

    def _make_room(self, caller: str) -> None:
        """Displace the last that waits of the caller who has most.

        Raises:
            OverloadedError: none has enough more than `caller`.
        """
        others = [waiting for waiting in reversed(self.queue) if waiting.caller != caller]
        if not others:  # as with one caller, who may be refused a thousand times a second
            raise self._full()
        has = self.busy() + Counter(waiting.caller for waiting in self.queue)
        last = max(others, key=lambda waiting: has[waiting.caller])
        if has[last.caller] < has[caller] + 2:
            raise self._full()
        last.displaced = True
        self.queue.remove(last)
        last.turn.set()

    def _full(self) -> OverloadedError:
        under_way = f"{self.busy().total()} {self.what} under way"
        return self._refused(Refusal.FULL, f"{under_way} and {len(self.queue)} waiting")

    def _refused(self, reason: Refusal, came: str) -> OverloadedError:
        self.on_refused(reason)
        return OverloadedError(
            f"{came}; expected at most {self.most} {self.what} and {self.max_queued} waiting; come again",
            retry_after_s=self._come_again_after_s(),
        )

    def _come_again_after_s(self) -> float:
        now, turn_s = time.monotonic(), self._kept_s / self.most
        turn = max(self._told_until, now + len(self.queue) * turn_s) + turn_s
        self._told_until = min(turn, now + self.queue_timeout_s)
        return min(max(turn - now, LEAST_RETRY_S), self.queue_timeout_s)
