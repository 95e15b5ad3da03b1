"""A place for a store of each kind that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.ingest.qdrant_server import API_KEY, qdrant_server

KINDS = ("parquet", "qdrant", "qdrant server")


@contextmanager
def store_uri(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of one of `KINDS` in `folder`, for as long as it can be used."""
    match kind:
        case "parquet":
            yield str(folder / "store")
        case "qdrant":
            yield f"qdrant+local:{folder}/store?name=films"
        case "qdrant server":
            monkeypatch.setenv("QDRANT_API_KEY", API_KEY)
            with qdrant_server(folder) as address:
                yield f"qdrant://{address}/films"
        case _:
            raise ValueError(f"{kind}: expected one of {', '.join(KINDS)}")
