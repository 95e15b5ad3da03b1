"""Sinks and stores by URI: Parquet wherever fsspec can write, Qdrant embedded or as a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import Sink, Store
from resonance.clients.results import SpaceRef

QDRANT_SCHEMES = ("qdrant", "qdrants", "qdrant+local")
EXPECTED_QDRANT = "qdrant://HOST:PORT/NAME, qdrants://HOST:PORT/NAME or qdrant+local:PATH?name=NAME"


@dataclass(frozen=True, slots=True)
class QdrantPlace:
    """Where collections are: a server's `url`, or a folder of the embedded one; `name` begins theirs."""

    url: str | None
    folder: Path | None
    name: str


def qdrant_place(uri: str) -> QdrantPlace | None:
    """The place that a URI names; None where it is none of Qdrant's.

    Raises:
        UsageError: one of Qdrant's that lacks something.
    """
    parts = urlsplit(uri)
    if parts.scheme not in QDRANT_SCHEMES:
        return None
    if parts.scheme == "qdrant+local":
        name = parse_qs(parts.query).get("name", ["titles"])[0]
        folder = parts.netloc + parts.path
        if not folder:
            raise UsageError(f"sink '{uri}'; expected {EXPECTED_QDRANT}")
        return QdrantPlace(None, Path(folder), name)
    name = parts.path.strip("/")
    if not parts.hostname or not name or "/" in name:
        raise UsageError(f"sink '{uri}'; expected {EXPECTED_QDRANT}")
    scheme = "https" if parts.scheme == "qdrants" else "http"
    return QdrantPlace(f"{scheme}://{parts.hostname}:{parts.port or 6333}", None, name)


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


def open_store(uri: str) -> Store:
    """What a sink wrote. Blocks.

    Raises:
        UsageError: an address that makes no sense. StoreError: it is not there or cannot be read.
        SpaceMismatchError: it holds vectors of more than one space.
    """
    place = qdrant_place(uri)
    if place is not None:
        from resonance.clients.ingest.qdrant import QdrantStore

        return QdrantStore(uri, place)
    from resonance.clients.ingest.parquet import ParquetStore

    return ParquetStore(uri)
