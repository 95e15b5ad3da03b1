"""Stores opened to be searched."""

from __future__ import annotations

from resonance.clients.discovery.types import Library
from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.ingest.stores import open_store


def open_library(uri: str) -> Library:
    """The library in a store that `resonance ingest` filled; of Qdrant, Qdrant searches it. Blocks.

    Raises:
        UsageError: an address that makes no sense. StoreError: it is not there or cannot be read.
        SpaceMismatchError: it holds vectors of more than one space.
    """
    place = qdrant_place(uri)
    if place is not None:
        from resonance.clients.discovery.qdrant_library import QdrantLibrary

        return QdrantLibrary(uri, place)
    from resonance.clients.discovery.scanned_library import ScannedLibrary

    return ScannedLibrary(open_store(uri))
