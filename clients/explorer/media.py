"""Posters, playable files and clips of the library's titles, each addressed by the title alone."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from typing import Any

from starlette.responses import Response

from resonance.clients.errors import NotMediaError
from resonance.clients.explorer.cache import RenderCache
from resonance.clients.explorer.catalogue import Catalogue
from resonance.clients.explorer.clips import make_clip
from resonance.clients.explorer.errors import NothingToShowError
from resonance.clients.explorer.kinds import MediaKind, media_kind
from resonance.clients.explorer.posters import make_poster
from resonance.clients.explorer.ranges import ranged_bytes, ranged_file
from resonance.clients.explorer.settings import ExplorerSettings
from resonance.clients.ingest.opening import Identity, identity, open_uri
from resonance.clients.ingest.uris import suffix
from resonance.clients.media.text import TEXT_SUFFIXES

#: Of posters, the longer side.
POSTER_PX, LARGE_POSTER_PX = 480, 1280
EXCERPT_BYTES = 2000


class MediaShelf:
    """What a title looks and sounds like. Where its media is comes from the library, never from a request."""

    def __init__(self, catalogue: Catalogue, settings: ExplorerSettings) -> None:
        self._catalogue, self._settings = catalogue, settings
        at_once, waiting = settings.renders_at_once, settings.renders_waiting
        self._posters = RenderCache(
            "poster", max_bytes=settings.poster_cache_bytes, at_once=at_once, waiting=waiting
        )
        self._clips = RenderCache(
            "clip", max_bytes=settings.clip_cache_bytes, at_once=at_once, waiting=4 * at_once
        )

    async def poster(self, media_id: str, at_s: float, *, large: bool) -> Response:
        """JPEG. Errors: see `make_poster`, and UnknownTitleError, StoreError."""
        uri = await self._uri(media_id)
        size_px = LARGE_POSTER_PX if large else POSTER_PX
        make = partial(make_poster, uri, at_s, size_px, self._settings.poster_timeout_s)
        data = await self._posters.get((uri, await _version(uri), round(at_s, 1), size_px), make)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    async def clip(self, media_id: str, at_s: float, range_header: str | None) -> Response:
        """MP4 from `at_s` on. Errors: see `make_clip`, and UnknownTitleError, StoreError."""
        uri = await self._uri(media_id)
        length_s, timeout_s = self._settings.clip_length_s, self._settings.clip_timeout_s
        make = partial(make_clip, uri, at_s, length_s, timeout_s)
        data = await self._clips.get((uri, await _version(uri), round(at_s, 1)), make)
        return ranged_bytes(data, "video/mp4", range_header)

    async def playback(self, media_id: str) -> dict[str, Any]:
        """What the media is: its kind, a type that a browser may play, the start of a text.

        Raises:
            MediaError: it is away, or no media. ServerError, UsageError: its store's.
            UnknownTitleError, StoreError: the library's.
        """
        uri = await self._uri(media_id)
        kind = await asyncio.to_thread(media_kind, uri)
        excerpt = await asyncio.to_thread(_excerpt, uri) if kind.name == "text" else None
        return {
            "kind": kind.name,
            "direct": kind.direct,
            "clip_length_s": self._settings.clip_length_s,
            "excerpt": excerpt,
        }

    async def file(self, media_id: str, range_header: str | None) -> Response:
        """The stored file, if it is media that a browser may play: nothing else is handed out.

        Raises:
            NothingToShowError: it is not. Others: see `playback`.
        """
        uri = await self._uri(media_id)
        kind: MediaKind = await asyncio.to_thread(media_kind, uri)
        if kind.content_type is None:
            raise NothingToShowError(f"{uri} is nothing that browsers play; ask for a clip of it")
        file = await asyncio.to_thread(open_uri, uri)
        size = await asyncio.to_thread(file.seek, 0, io.SEEK_END)
        return ranged_file(file, size, kind.content_type, range_header)

    async def _uri(self, media_id: str) -> str:
        return (await self._catalogue.facts(media_id)).uri

    def close(self) -> None:
        """End the threads."""
        self._posters.close()
        self._clips.close()


async def _version(uri: str) -> Identity:
    """By what a file that took another's place is told from it. Errors: see `open_uri`."""
    return await asyncio.to_thread(identity, uri)


def _excerpt(uri: str) -> str | None:
    """The start of a text; None of subtitles, whose times would be in it."""
    if suffix(uri) not in TEXT_SUFFIXES:
        return None
    with open_uri(uri) as file:
        data = file.read(EXCERPT_BYTES)
    if b"\0" in data:
        raise NotMediaError(uri, "bytes that are no text", "UTF-8 text")
    return data.decode("utf-8-sig", errors="ignore")
