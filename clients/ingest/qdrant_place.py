"""Where a URI of Qdrant leads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from resonance.clients.errors import UsageError

QDRANT_SCHEMES = ("qdrant", "qdrants", "qdrant+local")
DEFAULT_PORT = 6333  # of Qdrant's REST API
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
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise UsageError(f"sink '{uri}': {error}; expected {EXPECTED_QDRANT}") from error
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme = "https" if parts.scheme == "qdrants" else "http"
    return QdrantPlace(f"{scheme}://{host}:{port}", None, name)
