"""One title through the client library, as an ingestion job would: `python -m resonance.loadtest.chaos.job`.

Each part is kept in a journal as soon as it is there, and said on stdout: ``segment INDEX``, at last
``title``. Killed and started again with the same journal, it goes on after the last segment kept.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from resonance.clients.embedder import Embedder
from resonance.clients.gateway.messages import FieldNames
from resonance.clients.results import MediaEmbedding, Segment
from resonance.loadtest.chaos.journal import Journal


async def embed(server: str, media: Path, transcript: Path | None, name: str, journal: Path) -> None:
    """Embed what `journal` lacks of `media`.

    Raises:
        ResonanceError: as the library raises it, when it has given up.
    """
    with Journal(journal) as kept:
        if kept.kept.titles:
            return
        async with Embedder(server) as embedder:
            done = kept.kept.done(FieldNames.of(await embedder.space()))
            async for part in embedder.stream(media, transcript=transcript, name=name, done=done):
                if isinstance(part, Segment):
                    kept.segment(part)
                    print("segment", part.index, flush=True)
                elif isinstance(part, MediaEmbedding):
                    kept.title(part)
                    print("title", flush=True)


def main(
    server: str,
    media: Path,
    journal: Path,
    transcript: Annotated[Path | None, typer.Option()] = None,
    name: Annotated[str, typer.Option()] = "title",
) -> None:
    """Embed MEDIA at SERVER into JOURNAL."""
    asyncio.run(embed(server, media, transcript, name, journal))


if __name__ == "__main__":
    typer.run(main)
