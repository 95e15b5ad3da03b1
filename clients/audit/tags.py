"""Files of tags: CSV, JSON lines or Parquet with a title a row, read as a stream.

Columns: ``media_id``; ``tags``, a list or text with ``;`` between them. Rows of the same title are added
together, so a file with a row a tag is read too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from resonance.clients.audit.columns import names
from resonance.clients.audit.stored_names import by_spelling
from resonance.clients.audit.table import Layout, read_table
from resonance.clients.ingest.errors import CatalogueError

_LAYOUT = Layout(
    needed=("media_id", "tags"),
    expected="a file of tags: .csv, .jsonl, .ndjson or .parquet with columns media_id and tags",
)


@dataclass(frozen=True, slots=True)
class TitleTags:
    """Attributes:
    by_title: sorted tags by media id; a title that is not in the file is not in it.
    others: rows of titles that were not asked for. example: the first of those titles; empty without any.
    """

    by_title: dict[str, tuple[str, ...]]
    others: int
    example: str

    def notes(self, uri: str, *, whole: bool) -> tuple[str, ...]:
        """What to tell of rows that say nothing; `whole`: every title of the store was asked for."""
        if not (whole and self.others):
            return ()
        rows = "1 row of" if self.others == 1 else f"{self.others:,} rows of"
        return (f"{rows} {uri}: of no title of the store, such as '{self.example}'.",)


def read_tags(uri: str, wanted: Collection[str]) -> TitleTags:
    """Tags of the `wanted` titles, however the file writes their accents.

    Raises:
        CatalogueError: it cannot be opened or read, lacks a column, or a row is no title's.
        ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
    """
    chosen = by_spelling(wanted)
    found: dict[str, set[str]] = {}
    others, example = 0, ""
    for rows in read_table(uri, _LAYOUT):
        pairs = zip(names(rows, "media_id"), rows.columns["tags"], strict=True)
        for at, (media_id, tags) in enumerate(pairs):
            if (name := chosen.get(media_id)) is not None:
                found.setdefault(name, set()).update(_tags(tags, rows.where(at)))
            else:
                others, example = others + 1, example or media_id
    return TitleTags({name: tuple(sorted(tags)) for name, tags in found.items()}, others, example)


def _tags(value: Any, where: str) -> set[str]:
    if value is None:
        return set()
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise CatalogueError(where, f"tags {value!r}", "a list of texts, or text with ; between them")
    return {part.strip() for part in parts} - {""}
