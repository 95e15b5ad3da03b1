"""What is made of a whole library: made anew once its titles are others."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from resonance.clients.discovery.types import Library

T = TypeVar("T")
#: Of the time, what making it anew may take while a library grows: a large one takes long.
MOST_OF_THE_TIME = 0.05


class Renewed(Generic[T]):
    """What `make`, which blocks, gives for a library as it is. To be used in the library's thread."""

    def __init__(self, library: Library, make: Callable[[], T]) -> None:
        self._library, self._make = library, make
        self._kept: tuple[Hashable, T] | None = None  # and the revision that it was made of
        self._stays_until_s = 0.0

    def get(self) -> T:
        """The latest. Errors: those of `make`, and StoreError: the library cannot be read."""
        revision, begin_s = self._library.revision(), time.monotonic()
        if self._kept is None or (revision != self._kept[0] and begin_s > self._stays_until_s):
            self._kept = (revision, self._make())
            end_s = time.monotonic()
            self._stays_until_s = end_s + (end_s - begin_s) / MOST_OF_THE_TIME
        return self._kept[1]
