"""Sinks and stores by URI: Parquet wherever fsspec can write, Qdrant embedded or as a server."""

from __future__ import annotations

from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.ingest.types import Sink, Store
from resonance.clients.results import SpaceRef


def open_sink(uri: str, space: SpaceRef) -> Sink:
    """A sink for vectors of `space`. Blocks.

    Raises:
        UsageError: an address that makes no sense. StoreError: it cannot be opened.
        SpaceMismatchError: it holds vectors of another space.
    """
    place = qdrant_place(uri)
    if place is not None:
        from resonance.clients.ingest.qdrant import QdrantSink

        return QdrantSink(uri, place, space)
    from resonance.clients.ingest.parquet import ParquetSink

    return ParquetSink(uri, space)


def open_store(uri: str, *, lenient: bool = False) -> Store:
    """What a sink wrote. Blocks.

    Args:
        lenient: leave out what cannot be read or is of another space, and tell of it in `Store.faults`.

    Raises:
        UsageError: an address that makes no sense. StoreError: it is not there or cannot be read.
        SpaceMismatchError: it holds vectors of more than one space.
    """
    place = qdrant_place(uri)
    if place is not None:
        from resonance.clients.ingest.qdrant import QdrantStore

        return QdrantStore(uri, place, lenient=lenient)
    from resonance.clients.ingest.parquet import ParquetStore

    return ParquetStore(uri, lenient=lenient)
