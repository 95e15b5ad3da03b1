"""The embedder that reads media here and asks Triton's models itself."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from resonance.clients.face import Source, Transcript, title_of
from resonance.clients.media.reader import open_media
from resonance.clients.media.text import TextReader
from resonance.clients.media.types import Limits
from resonance.clients.pipeline import Part, TitleOptions, TitlePipeline, fuse_segments
from resonance.clients.query import MODALITIES_OF_KIND, Example, query_of
from resonance.clients.results import MediaEmbedding, QueryEmbedding, Segment
from resonance.clients.served_space import ServedSpace
from resonance.clients.sources import Reader, ThreadedSource
from resonance.clients.transport import Transport
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Weights


class DirectEmbedder:
    """See `Embedder`, whose methods these are.

    Reading (demuxing, sound, subtitles) runs in threads of its own; at most `max_in_flight` segments are read
    and not yet answered, so memory does not grow with the length of a title.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        expected_fingerprint: str | None,
        max_in_flight: int,
        request_timeout_s: float,
        limits: Limits,
    ) -> None:
        self._transport, self._limits = transport, limits
        self._options = TitleOptions(max_in_flight=max_in_flight, request_timeout_s=request_timeout_s)
        self._served = ServedSpace(
            transport, expected_fingerprint=expected_fingerprint, timeout_s=request_timeout_s
        )

    async def close(self) -> None:
        """Free the connection."""
        await self._transport.close()

    async def space(self) -> Descriptor:
        """See `Embedder.space`."""
        return await self._served.known()

    async def embed_text(self, text: str, *, name: str) -> MediaEmbedding:
        """See `Embedder.embed_text`."""
        descriptor = await self.space()
        source = ThreadedSource(lambda: TextReader(text, descriptor, name=name))
        pipeline = TitlePipeline(self._transport, self._served, descriptor, source, self._options)
        return await title_of(pipeline.parts())

    async def stream(
        self,
        source: Source,
        *,
        sampling: str | None,
        transcript: Transcript | None,
        name: str | None,
        done: Sequence[Segment],
        modalities: frozenset[str] | None = None,
    ) -> AsyncGenerator[Part, None]:
        """See `Embedder.stream`."""
        descriptor = await self.space()
        left = threading.Event()

        def opened() -> Reader:
            return open_media(
                source,
                descriptor,
                sampling=sampling,
                transcript=transcript,
                limits=self._limits,
                name=name,
                modalities=modalities,
                first_index=done[-1].index + 1 if done else 0,
                left=left.is_set,
            )

        options = replace(self._options, done=tuple(done))
        reading = ThreadedSource(opened, left)
        pipeline = TitlePipeline(self._transport, self._served, descriptor, reading, options)
        # closed here and now when the caller leaves early, not when the garbage collector comes by
        async with aclosing(pipeline.parts()) as parts:
            async for part in parts:
                yield part

    async def embed_query(
        self, examples: Sequence[tuple[str, Source]], weights: Weights | Mapping[str, float] | None
    ) -> QueryEmbedding:
        """See `Embedder.embed_query`."""
        if not isinstance(weights, Weights):
            weights = Weights.from_mapping(weights or {})
        found = []
        for kind, source in examples:
            if kind == "text":
                title = await self.embed_text(str(source), name="text")
            else:
                wanted = MODALITIES_OF_KIND[kind]
                title = await title_of(
                    self.stream(source, sampling=None, transcript=None, name=None, done=(), modalities=wanted)
                )
            found.append(Example.of(kind, title))
        return query_of(found, weights, await self.space())

    async def fuse(self, segments: Sequence[Segment], *, name: str) -> MediaEmbedding:
        """See `Embedder.fuse`."""
        return await fuse_segments(
            self._transport,
            self._served,
            await self.space(),
            segments,
            media=name,
            timeout_s=self._options.request_timeout_s,
        )
