"""What a page sends as an example, embedded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from resonance.clients.discovery.articles import article_text
from resonance.clients.embedder import Embedder
from resonance.clients.errors import CorruptMediaError, MediaLimitError, NoModalityError
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES
from resonance.clients.media.text import TEXT_SUFFIXES
from resonance.clients.media.types import SampledBy
from resonance.clients.query import Example
from resonance.clients.results import MediaEmbedding
from resonance.space.descriptor import MODALITIES

#: Endings of names that are believed; everything else is told by its content.
ARTICLE_SUFFIXES = (*TEXT_SUFFIXES, ".html", ".htm")
_KEPT_SUFFIXES = frozenset((*ARTICLE_SUFFIXES, *SUBTITLE_SUFFIXES))


def shown_name(name: str) -> str:
    """The last part of a file's name, for people: at most 120 characters, on one line."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return " ".join(last.split())[:120] or "file"


async def receive(chunks: AsyncIterator[bytes], folder: Path, name: str, max_bytes: int) -> Path:
    """Write an upload to a file of `folder`; its name there tells its kind and nothing else.

    Raises:
        MediaLimitError: more than `max_bytes`. CorruptMediaError: nothing came.
    """
    ending = PurePosixPath(name).suffix.lower()
    path = folder / f"example{ending if ending in _KEPT_SUFFIXES else ''}"
    size = 0
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise too_large(name, max_bytes)
            file.write(chunk)
    if size == 0:
        raise CorruptMediaError(name, "no bytes at all", "a picture, sound, clip or text")
    return path


def too_large(name: str, max_bytes: int) -> MediaLimitError:
    """The error of an example that is."""
    return MediaLimitError(name, f"over {max_bytes:,} bytes", f"at most {max_bytes:,} bytes; a shorter cut")


async def embed_file(embedder: Embedder, path: Path, name: str) -> tuple[str, Example]:
    """Kind and example of a file; a clip counts with all that it has.

    Raises:
        MediaError: its own fault. ServerError, RequestRejectedError, SpaceMismatchError: the server's.
    """
    if path.suffix in ARTICLE_SUFFIXES:
        text = await asyncio.to_thread(lambda: article_text(path.read_bytes(), name))
        return await embed_words(embedder, text, name)
    title: MediaEmbedding | None = None
    async for part in embedder.stream(path, name=name):
        if isinstance(part, MediaEmbedding):
            title = part
    assert title is not None, "a stream ends with its title or raises"
    return _kind(title), Example.of("video", title)


async def embed_words(embedder: Embedder, text: str, name: str) -> tuple[str, Example]:
    """Kind and example of text. Errors: see `embed_file`."""
    if not text.strip():
        raise NoModalityError(name, "no words", "a sentence")
    return "text", Example.of("text", await embedder.embed_text(text, name=name))


def _kind(title: MediaEmbedding) -> str:
    """What a person would call it."""
    has = dict(zip(MODALITIES, title.present, strict=True))
    if has["visual"]:
        return "image" if title.segments[0].sampled_by is SampledBy.IMAGE else "video"
    return "sound" if has["audio"] else "text"
