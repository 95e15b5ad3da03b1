"""Locust's users: who uploads, searches, feeds, reads slowly, watches and fuses, each at its own pace.

A user's call is due at its pace, or as soon as the one before has ended where that took longer. So the load
rises with the users until the server is full, and stays at what it answers from there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import ClassVar

from locust import LoadTestShape, User, task
from locust.env import Environment

from resonance.loadtest.load.calls import Ended
from resonance.loadtest.load.records import Result
from resonance.loadtest.load.shapes import Step, users_at
from resonance.loadtest.load.work import BROADCAST, FRAMES, Work

#: A refused caller waits as it was told, but no longer than this.
MOST_RETRY_S = 5.0
SPAWN_PER_S = 100.0


class Caller(User):
    """One of them; its connection is its own.

    Attributes:
        work: set for all users before the run.
        pace_s: from one call to the next.
    """

    abstract = True
    work: ClassVar[Work]
    pace_s: ClassVar[float] = 1.0
    slow: ClassVar[bool] = False

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.gateway = self.work.connect(self.slow)
        self.number = random.randrange(1000)  # users begin at different kinds
        self._due_s, self._began = 0.0, False

    def on_start(self) -> None:
        """Begin somewhere in the pace, so that users do not call in step."""
        self._due_s = time.monotonic() - random.random() * self.pace_s
        self._began = False

    def on_stop(self) -> None:
        """Close."""
        self.gateway.close()

    def wait_time(self) -> float:
        """Seconds until the next call is due; calls that a slow answer made impossible are left out."""
        now = time.monotonic()
        self._due_s = max(self._due_s + self.pace_s, now)
        return self._due_s - now

    @task
    def go(self) -> None:
        """The next call, and the wait that a refusal asks for."""
        if not self._began:  # waiting before the first call as before all others, locust can end it
            self._began = True
            return
        self.work.begun(self._due_s)
        self.number += 1
        ended = self.call(self._due_s)
        if ended.result is not Result.ANSWERED:
            time.sleep(min(ended.retry_s or 0.1, MOST_RETRY_S))

    def call(self, due_s: float) -> Ended:
        """What this user does."""
        raise NotImplementedError


class Uploader(Caller):
    """Titles of all kinds, a bad one in fifty."""

    weight = 4
    pace_s = 4.0

    def call(self, due_s: float) -> Ended:
        """One title."""
        return self.work.upload(self.gateway, self.work.next_upload(), due_s)


class Searcher(Caller):
    """Queries of all kinds."""

    weight = 4
    pace_s = 1.0

    def call(self, due_s: float) -> Ended:
        """One query."""
        return self.work.query(self.gateway, self.number, due_s)


class Feeder(Caller):
    """Live feeds, one after the other, raw and encoded in turn."""

    weight = 2
    pace_s = 1.0

    def call(self, due_s: float) -> Ended:
        """One feed, in real time."""
        return self.work.feed(self.gateway, (FRAMES, BROADCAST)[self.number % 2])


class SlowReader(Caller):
    """Uploads a long title and reads its answers slowly."""

    pace_s = 40.0
    slow = True

    def call(self, due_s: float) -> Ended:
        """One title."""
        return self.work.read_slowly(self.gateway, due_s)


class Watcher(Caller):
    """Status, space and health."""

    pace_s = 1.0

    def call(self, due_s: float) -> Ended:
        """One of them."""
        return self.work.ask(self.gateway, self.number, due_s)


class Fuser(Caller):
    """Fuses titles from segments it has kept."""

    pace_s = 2.0

    def call(self, due_s: float) -> Ended:
        """One title."""
        return self.work.fuse(self.gateway, due_s)


#: The sum of their weights is shapes.CREW.
USERS: tuple[type[Caller], ...] = (Uploader, Searcher, Feeder, Watcher, Fuser, SlowReader)


class Steps(LoadTestShape):
    """Follows the steps of a run."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self._steps = steps

    def tick(self) -> tuple[int, float] | None:
        """Users now."""
        users = users_at(self._steps, self.get_run_time())
        return None if users is None else (users, SPAWN_PER_S)
