"""The library behind the explorer: one thread that reads it, and the titles that were shown last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from resonance.clients.discovery.browsing import browse
from resonance.clients.discovery.sample import LibrarySample, sample_library
from resonance.clients.discovery.types import Filter, Library, StoredTitle, TitleFacts
from resonance.clients.explorer.errors import UnknownTitleError

T = TypeVar("T")
#: Titles whose facts are kept, so that a poster does not search the store for its file.
FACTS_KEPT = 10_000


class Catalogue:
    """A library for a page. Its calls take turns in one thread: a library is not made for several."""

    def __init__(self, library: Library, browse_timeout_s: float) -> None:
        self.library = library
        self._browse_timeout_s = browse_timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="resonance-library")
        self._sample: LibrarySample | None = None
        self._facts: OrderedDict[str, TitleFacts] = OrderedDict()

    async def read(self, work: Callable[[], T]) -> T:
        """What `work`, which blocks, gives in the library's thread. Errors: its own."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def sample(self) -> LibrarySample:
        """Some of its titles, read once. StoreError: the store cannot be read."""
        if self._sample is None:
            self._sample = await self.read(lambda: sample_library(self.library))
        return self._sample

    def note(self, facts: TitleFacts) -> None:
        """Keep what is known of a title that is shown."""
        self._facts[facts.media_id] = facts
        self._facts.move_to_end(facts.media_id)
        while len(self._facts) > FACTS_KEPT:
            self._facts.popitem(last=False)

    async def stored(self, media_ids: Collection[str]) -> dict[str, StoredTitle]:
        """Titles by name, whole; what is not there is not in it. StoreError: the store cannot be read."""
        if not media_ids:
            return {}
        return await self.read(lambda: self.library.titles(media_ids))

    async def title(self, media_id: str) -> StoredTitle:
        """One title, whole.

        Raises:
            UnknownTitleError: it is not there. StoreError: the store cannot be read.
        """
        found = await self.stored([media_id])
        if media_id not in found:
            raise UnknownTitleError(f"no title '{media_id}' in the library; it may have been taken out")
        self.note(found[media_id].facts)
        return found[media_id]

    async def facts(self, media_id: str) -> TitleFacts:
        """What is known of a title. Errors: see `title`."""
        if media_id not in self._facts:
            await self.title(media_id)
        return self._facts[media_id]

    async def browse(self, words: str, only: Filter, limit: int) -> tuple[list[TitleFacts], bool]:
        """See `resonance.clients.discovery.browsing`. StoreError: the store cannot be read."""

        def look() -> tuple[list[TitleFacts], bool]:
            return browse(self.library, words, only, limit=limit, within_s=self._browse_timeout_s)

        found, whole = await self.read(look)
        for facts in found:
            self.note(facts)
        return found, whole

    def close(self) -> None:
        """End the thread, and the library in it."""
        self._thread.submit(self.library.close)
        self._thread.shutdown(wait=True)
