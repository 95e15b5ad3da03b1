"""What the page can ask, without HTTP."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from resonance.clients.discovery.explanation import explain_suggestion
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.sentences import sentence_of
from resonance.clients.discovery.types import Filter, StoredTitle
from resonance.clients.explorer.catalogue import Catalogue
from resonance.clients.explorer.encoder import EncoderServer
from resonance.clients.explorer.queries import SearchRequest, query_of_request
from resonance.clients.explorer.settings import ExplorerSettings
from resonance.clients.explorer.shelf import ExampleShelf, HeldExample
from resonance.clients.explorer.shown import segment_scores, shown_details, shown_hit, shown_title
from resonance.clients.explorer.uploads import embed_file, embed_words, receive, shown_name, too_large
from resonance.clients.explorer.viewer import Viewer
from resonance.clients.explorer.why import Usuals, sentence_of_hit
from resonance.space.scores import Query


class Explorer:
    """One library, one encoder server, the examples of all pages."""

    def __init__(
        self,
        catalogue: Catalogue,
        server: EncoderServer,
        settings: ExplorerSettings,
        viewer: Viewer | None = None,
    ) -> None:
        self.catalogue, self.server, self.settings, self._viewer = catalogue, server, settings, viewer
        self._shelf = ExampleShelf(settings.examples_kept)

    async def library(self) -> dict[str, Any]:
        """Its name and size, and whose history was given. StoreError: the store cannot be read."""
        library = self.catalogue.library
        titles = await self.catalogue.read(library.count)
        return {
            "name": _library_name(library.uri),
            "titles": titles,
            "viewer": self._viewer and self._viewer.name,
        }

    async def server_state(self) -> dict[str, Any]:
        """Whether the encoder server answers, else what was wrong; whether titles rank without it."""
        state = await self.server.look()
        return {"address": self.server.address, "space_known": self.server.knows_space, **asdict(state)}

    async def browse(self, words: str, tags: tuple[str, ...], limit: int) -> dict[str, Any]:
        """Titles by name. StoreError: the store cannot be read."""
        found, whole = await self.catalogue.browse(words, Filter(tags=tags), limit)
        return {"titles": [shown_title(facts) for facts in found], "all": whole}

    async def add_file(self, chunks: AsyncIterator[bytes], given_name: str) -> dict[str, str]:
        """Embed a file, which is not kept.

        Raises:
            MediaError: its own fault. ServerError, RequestRejectedError, SpaceMismatchError: the server's.
        """
        name = shown_name(given_name)
        with tempfile.TemporaryDirectory(prefix="resonance-explorer-") as folder:
            path = await receive(chunks, Path(folder), name, self.settings.max_upload_bytes)
            kind, example = await self.server.embed(lambda embedder: embed_file(embedder, path, name))
        return _shown_example(self._shelf.put(kind, example))

    async def add_text(self, text: str) -> dict[str, str]:
        """Embed words. Errors: see `add_file`."""
        if len(text.encode(errors="replace")) > self.settings.max_text_bytes:
            raise too_large("text", self.settings.max_text_bytes)
        kind, example = await self.server.embed(lambda embedder: embed_words(embedder, text, "text"))
        return _shown_example(self._shelf.put(kind, example))

    async def search(self, asked: SearchRequest) -> dict[str, Any]:
        """Titles, best first; the encoders are not asked.

        Raises:
            ExpiredExampleError, UsageError, SpaceError: see `query_of_request`.
            ServerUnavailableError: see `EncoderServer.descriptor`. StoreError: the store cannot be read.
        """
        query, weights, only = await self._query(asked), asked.block_weights(), self._filter(asked)
        searcher = Searcher(self.catalogue.library, await self.server.descriptor())
        hits = await self.catalogue.found(
            lambda: searcher.find_titles(
                query, weights, limit=asked.limit, only=only, diversity=asked.diversity
            )
        )
        usuals = Usuals(query, weights, (await self.catalogue.sample()).without(only.excluded))
        shown = []
        for hit in hits:
            reasons = usuals.reasons(hit)
            shown.append(shown_hit(hit, reasons, sentence_of_hit(reasons, weights, hit)))
        return {"hits": shown}

    async def matches(self, media_id: str, asked: SearchRequest) -> dict[str, Any]:
        """How well each segment of a title answers; where one title is asked for, why this one is like it.

        Errors: see `search`, and UnknownTitleError.
        """
        query, weights = await self._query(asked), asked.block_weights()
        title = await self.catalogue.title(media_id)
        return {
            "scores": await asyncio.to_thread(segment_scores, query, weights, title.segments),
            "sentence": await self._comparison(title, asked),
        }

    async def _comparison(self, title: StoredTitle, asked: SearchRequest) -> str | None:
        names = asked.titles()
        if len(asked.parts) != 1 or asked.parts[0].weight < 0 or not names or title.facts.media_id in names:
            return None
        (other,) = (await self.catalogue.stored(names)).values()
        sample, descriptor = await self.catalogue.sample(), await self.server.descriptor()
        moments = len(other.segments) * len(title.segments) <= self.settings.moment_pairs
        explain = partial(explain_suggestion, moments=moments)
        facts = await asyncio.to_thread(explain, other, title, asked.block_weights(), descriptor, sample)
        return sentence_of(facts)

    async def details(self, media_id: str) -> dict[str, Any]:
        """A title with its segments and arcs.

        Raises:
            UnknownTitleError: it is not there. StoreError: the store cannot be read.
        """
        return shown_details(await self.catalogue.title(media_id))

    async def _query(self, asked: SearchRequest) -> Query:
        vectors, descriptor = await self.catalogue.vectors(asked.titles()), await self.server.descriptor()
        taste = None
        if self._viewer is not None and asked.with_history():
            taste = (await self._viewer.taste(self.catalogue, descriptor)).query
        return query_of_request(asked, self._shelf, vectors, descriptor, taste)

    def _filter(self, asked: SearchRequest) -> Filter:
        return asked.filter(frozenset() if self._viewer is None else self._viewer.watched)


def _shown_example(held: HeldExample) -> dict[str, str]:
    return {"key": held.key, "kind": held.kind, "name": held.example.name}


def _library_name(uri: str) -> str:
    """What a person calls it: the last part of its address, without what may be secret in the rest."""
    return uri.partition("?")[0].rstrip("/").rpartition("/")[2] or uri
