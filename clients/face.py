"""What every embedder can do, whatever it speaks to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Protocol

from resonance.clients.media.words import SubtitleFile
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, QueryEmbedding, Segment
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Weights

Source = str | Path | bytes | BinaryIO
#: A subtitle file: where it is, or its bytes with their format.
Transcript = str | Path | SubtitleFile


class Backend(Protocol):
    """The methods of `resonance.clients.embedder.Embedder`, which documents them."""

    async def close(self) -> None:
        """Free the connection."""
        ...

    async def space(self) -> Descriptor:
        """The space."""
        ...

    async def embed_text(self, text: str, *, name: str) -> MediaEmbedding:
        """Text alone."""
        ...

    def stream(
        self,
        source: Source,
        *,
        sampling: str | None,
        transcript: Transcript | None,
        name: str | None,
        done: Sequence[Segment],
    ) -> AsyncGenerator[Part, None]:
        """A title, part by part."""
        ...

    async def embed_query(
        self, examples: Sequence[tuple[str, Source]], weights: Weights | Mapping[str, float] | None
    ) -> QueryEmbedding:
        """A query of (kind, source) examples, kind ``image``, ``sound``, ``text`` or ``video``."""
        ...

    async def fuse(self, segments: Sequence[Segment], *, name: str) -> MediaEmbedding:
        """A title of segments."""
        ...


async def title_of(parts: AsyncGenerator[Part, None]) -> MediaEmbedding:
    """The last title of a stream of parts; errors are the stream's."""
    title: MediaEmbedding | None = None
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, MediaEmbedding):
                title = part
    assert title is not None, "a stream ends with its title or raises"
    return title
