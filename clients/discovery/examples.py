"""Examples of every kind, embedded and put into one query."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.discovery.articles import article_text
from resonance.clients.discovery.reading import known_title
from resonance.clients.discovery.types import Library
from resonance.clients.embedder import Embedder
from resonance.clients.errors import UsageError
from resonance.clients.face import Source
from resonance.clients.query import Example, blocks_of
from resonance.space.scores import Query, query_from_blocks

#: Kinds of examples; all but text and like are a path, bytes or a file.
KINDS = ("image", "sound", "video", "text", "article", "like")


@dataclass(frozen=True, slots=True)
class ExampleSource:
    """One example as it is given.

    Args:
        kind: one of `KINDS`. value: text, a media id where the kind is ``like``, else a path or the bytes of
            a file.
        weight: how much it counts among others with the same modality.

    Raises:
        UsageError: an unknown kind, or a weight that is not a finite number above 0.
    """

    kind: str
    value: Source
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"example of kind '{self.kind}'; expected one of {', '.join(KINDS)}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UsageError(f"weight of the {self.kind} is {self.weight}; expected a finite number above 0")


async def query_of_examples(
    embedder: Embedder,
    library: Library,
    examples: Sequence[ExampleSource],
    *,
    sampling: str | None = None,
) -> Query:
    """One query of all examples; what a picture, a sound and a clip count with: `resonance.clients.query`.

    A title of the library ("like") counts with all of its blocks, inferred ones too, as
    `resonance.space.query_from_vector` has it. Only other kinds are sent to the server.

    Args:
        sampling: of clips, as the library was sampled; by default what the space says.

    Raises:
        UsageError: no example, or a title that the library does not have.
        MediaError: an example's own fault. StoreError: the store cannot be read.
        ServerError, RequestRejectedError, SpaceMismatchError: the server's.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_embedded(embedder, library, example, sampling)) for example in examples
            ]
            space = group.create_task(embedder.space())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return query_from_blocks(blocks_of([task.result() for task in tasks]), space.result())


async def _embedded(
    embedder: Embedder, library: Library, example: ExampleSource, sampling: str | None
) -> Example:
    kind, value, weight = example.kind, example.value, example.weight
    if kind == "like":
        name = str(value)
        title = await asyncio.to_thread(known_title, library, name)
        return Example("video", name, title.vector, (True, True, True), weight)
    if kind == "text":
        return Example.of("text", await embedder.embed_text(str(value)), weight)
    if kind == "article":
        text = await asyncio.to_thread(article_text, value)
        name = str(value) if isinstance(value, str | Path) else "article"
        return Example.of("text", await embedder.embed_text(text, name=name), weight)
    return Example.of(kind, await embedder.embed(value, sampling=sampling), weight)
