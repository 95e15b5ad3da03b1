"""Files of tags: CSV, JSON lines or Parquet with a title a row, read as a stream.

Columns: ``media_id``; ``tags``, a list or text with ``;`` between them. Rows of the same title are added
together, so a file with a row a tag is read too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from resonance.clients.audit.columns import names
from resonance.clients.audit.table import Layout, read_table
from resonance.clients.ingest.errors import CatalogueError

_LAYOUT = Layout(
    needed=("media_id", "tags"),
    expected="a file of tags: .csv, .jsonl, .ndjson or .parquet with columns media_id and tags",
)


def read_tags(uri: str, wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Tags of the `wanted` titles, sorted, by media id; a title that is not in the file is not in the answer.

    Raises:
        CatalogueError: it cannot be opened or read, lacks a column, or a row is no title's.
        ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
    """
    chosen = frozenset(wanted)
    found: dict[str, set[str]] = {}
    for rows in read_table(uri, _LAYOUT):
        pairs = zip(names(rows, "media_id"), rows.columns["tags"], strict=True)
        for at, (media_id, tags) in enumerate(pairs):
            if media_id in chosen:
                found.setdefault(media_id, set()).update(_tags(tags, rows.where(at)))
    return {media_id: tuple(sorted(tags)) for media_id, tags in found.items()}


def _tags(value: Any, where: str) -> set[str]:
    if value is None:
        return set()
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise CatalogueError(where, f"tags {value!r}", "a list of texts, or text with ; between them")
    return {part.strip() for part in parts} - {""}
