"""A live stream's title in a store, written again each time it changes: it is found while it is on."""

from __future__ import annotations

import uuid

from resonance.clients.errors import NotMediaError
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import check_utf_8
from resonance.clients.media.text import can_be_stored, shown
from resonance.clients.results import MediaEmbedding, SpaceRef


class LiveTitleSink:
    """One title of a sink. No journal knows of it, so no job skips it, embeds it again or prunes it.

    All methods block.

    Args:
        uri: as `--sink` of `resonance ingest`.
        media_id: its name in the store; no catalogue may have it.
        origin: where the stream came from, for whoever looks at the title.

    Raises:
        UsageError: an address that makes no sense. NotMediaError: a name that cannot be stored.
        StoreError: the sink cannot be opened. SpaceMismatchError: it holds vectors of another space.
    """

    def __init__(self, uri: str, space: SpaceRef, *, media_id: str, origin: str) -> None:
        check_utf_8(uri, "--sink")
        for text in (media_id, origin):
            if not can_be_stored(text):
                raise NotMediaError(shown(text), "a name that is not UTF-8", "one that can be stored")
        self._item = CatalogueItem(media_id=media_id, uri=origin)
        self._sink = open_sink(uri, space)

    def write(self, title: MediaEmbedding) -> None:
        """Put it, with its segments, in the place of what was written of it before.

        Raises:
            StoreError: it could not be written; what was there before may be.
        """
        version = f"live-{uuid.uuid4().hex}"
        rows = title_row(self._item, version, title)
        self._sink.write(rows, batch=version, replaces={self._item.media_id})

    def close(self) -> None:
        """Free files and connections."""
        self._sink.close()
