"""The library behind the explorer: one thread that reads it, and the titles that were shown last."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from resonance.clients.discovery.browsing import browse
from resonance.clients.discovery.sample import LibrarySample, sample_library
from resonance.clients.discovery.search import TitleHit
from resonance.clients.discovery.types import Filter, Library, StoredTitle, TitleFacts
from resonance.clients.explorer.errors import UnknownTitleError
from resonance.clients.explorer.renewed import Renewed
from resonance.clients.results import Vector

T = TypeVar("T")
#: Titles whose facts are kept, so that a poster does not search the store for its file.
FACTS_KEPT = 10_000
#: How often the library is asked at most whether its titles changed: in an object store that is a listing,
#: and a page asks for dozens of posters at once.
LOOK_EVERY_S = 1.0


class Catalogue:
    """A library for a page. Its calls take turns in one thread: a library is not made for several."""

    def __init__(self, library: Library, browse_timeout_s: float) -> None:
        self.library = library
        self._browse_timeout_s = browse_timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="resonance-library")
        self._sample = Renewed(library, lambda: sample_library(library))
        self._facts: OrderedDict[str, TitleFacts] = OrderedDict()  # of the library's thread
        self._facts_of: Hashable = None  # the revision
        self._look_again_s = 0.0

    async def read(self, work: Callable[[], T]) -> T:
        """What `work`, which blocks, gives in the library's thread. Errors: its own."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def sample(self) -> LibrarySample:
        """Some of its titles, read again once there are others. StoreError: the store cannot be read."""
        return await self.read(self._sample.get)

    async def found(self, search: Callable[[], list[TitleHit]]) -> list[TitleHit]:
        """What `search`, which blocks, finds; its titles are kept in mind. Errors: its own."""

        def look() -> list[TitleHit]:
            self._forget_if_changed()
            hits = search()
            for hit in hits:
                self._note(hit.facts)
            return hits

        return await self.read(look)

    def _forget_if_changed(self) -> None:
        if time.monotonic() < self._look_again_s:
            return
        revision = self.library.revision()
        self._look_again_s = time.monotonic() + LOOK_EVERY_S
        if revision != self._facts_of:
            self._facts.clear()
            self._facts_of = revision

    def _note(self, facts: TitleFacts) -> None:
        self._facts[facts.media_id] = facts
        self._facts.move_to_end(facts.media_id)
        while len(self._facts) > FACTS_KEPT:
            self._facts.popitem(last=False)

    async def stored(self, media_ids: Collection[str]) -> dict[str, StoredTitle]:
        """Titles by name, whole; what is not there is not in it. StoreError: the store cannot be read."""
        if not media_ids:
            return {}
        return await self.read(lambda: self.library.titles(media_ids))

    async def vectors(self, media_ids: Collection[str]) -> dict[str, Vector]:
        """The vectors of titles by name: each search asks for its examples, of which no segment is needed.

        Raises:
            StoreError: the store cannot be read.
        """
        if not media_ids:
            return {}
        return await self.read(lambda: self.library.vectors(media_ids))

    async def title(self, media_id: str) -> StoredTitle:
        """One title, whole.

        Raises:
            UnknownTitleError: it is not there. StoreError: the store cannot be read.
        """
        found = await self.stored([media_id])
        if media_id not in found:
            raise _unknown(media_id)
        return found[media_id]

    async def facts(self, media_id: str) -> TitleFacts:
        """What is known of a title. Errors: see `title`."""

        def look() -> TitleFacts | None:
            self._forget_if_changed()
            if media_id not in self._facts:
                for facts in self.library.facts([media_id]):
                    self._note(facts)
            return self._facts.get(media_id)

        known = await self.read(look)
        if known is None:
            raise _unknown(media_id)
        return known

    async def browse(self, words: str, only: Filter, limit: int) -> tuple[list[TitleFacts], bool]:
        """See `resonance.clients.discovery.browsing`. StoreError: the store cannot be read."""

        def look() -> tuple[list[TitleFacts], bool]:
            self._forget_if_changed()
            found, whole = browse(self.library, words, only, limit=limit, within_s=self._browse_timeout_s)
            for facts in found:
                self._note(facts)
            return found, whole

        return await self.read(look)

    def close(self) -> None:
        """End the thread, and the library in it."""
        self._thread.submit(self.library.close)
        self._thread.shutdown(wait=True)


def _unknown(media_id: str) -> UnknownTitleError:
    return UnknownTitleError(f"no title '{media_id}' in the library; it may have been taken out")
