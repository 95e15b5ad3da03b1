"""What a command searches with: examples or a taste, and the descriptor of the space that they are in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.cli.descriptors import descriptor_for
from resonance.clients.credentials import Credentials
from resonance.clients.discovery.browsing import all_spellings
from resonance.clients.discovery.examples import ExampleSource, query_of_examples
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.taste import load_taste
from resonance.clients.discovery.types import Library
from resonance.clients.embedder import Embedder
from resonance.clients.errors import UsageError
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Query


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, the space it is in, and the titles of the store that it is made of."""

    query: Query
    descriptor: Descriptor
    titles: frozenset[str]


@dataclass(frozen=True, slots=True)
class QuerySource:
    """The options of a search, before anything is asked.

    Attributes:
        taste: a saved one, instead of examples.
        space: a space.json, with which no server is asked.
        sampling: of clips among the examples; None: what the space says.
    """

    examples: Sequence[ExampleSource]
    taste: Path | None
    space: Path | None
    sampling: str | None
    server: str
    credentials: Credentials

    @property
    def files(self) -> list[Path]:
        """Those that are read for it."""
        examples = [one.value for one in self.examples if isinstance(one.value, Path)]
        return [*examples, *(path for path in (self.taste, self.space) if path is not None)]

    async def query(self, library: Library) -> Asked:
        """Put it together; what has to be embedded is sent to the server.

        Raises:
            UsageError: `space` beside examples that only a server can embed, or an unknown title.
            SpaceMismatchError: the space is not the library's.
            ResonanceError, SpaceError: see `query_of_examples`, `load_taste` and `descriptor_for`.
        """
        given = [str(one.value) for one in self.examples if one.kind == "like"]
        liked = all_spellings(given)
        likes_one = len(self.examples) == len(given) == 1
        if self.taste is not None or (likes_one and self.space is not None):
            descriptor = await descriptor_for(library, self.space, self.server, self.credentials)
            if self.taste is not None:
                taste = load_taste(self.taste, descriptor)
                return Asked(taste.query, descriptor, frozenset(one.media_id for one in taste.counted))
            searcher = Searcher(library, descriptor)
            query = await asyncio.to_thread(searcher.like, str(self.examples[0].value))
            return Asked(query, descriptor, liked)
        if self.space is not None:
            raise UsageError("--space and examples that a server must embed; expected one --like or --taste")
        fingerprint = library.space.fingerprint
        async with Embedder(
            self.server, expected_fingerprint=fingerprint, credentials=self.credentials
        ) as embedder:
            query = await query_of_examples(embedder, library, self.examples, sampling=self.sampling)
            return Asked(query, await embedder.space(), liked)
