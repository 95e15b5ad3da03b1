"""What a catalogue says of a title beside its media; kept up to date without embedding anything again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from resonance.clients.ingest.rows import title_schema
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.results import SpaceRef

LABELS = ("uri", "transcript_uri", "language", "tags", "attributes")


def labels_text(item: CatalogueItem) -> str:
    """All that is said of a title, as text; see `item_said`."""
    return json.dumps(
        [item.uri, item.transcript_uri, item.language, item.tags, sorted(item.attributes.items())]
    )


def item_said(media_id: str, said: str) -> CatalogueItem:
    """The title of which `labels_text` is `said`."""
    uri, transcript_uri, language, tags, attributes = json.loads(said)
    return CatalogueItem(
        media_id=media_id,
        uri=uri,
        transcript_uri=transcript_uri,
        language=language,
        tags=tuple(tags),
        attributes=dict(attributes),
    )


def labels_digest(item: CatalogueItem) -> str:
    """Another one for every other thing that is said of a title."""
    return hashlib.blake2b(labels_text(item).encode(), digest_size=16).hexdigest()


def labels_of(item: CatalogueItem, row: Mapping[str, Any]) -> dict[str, Any]:
    """The `LABELS` of a title that is stored as `row`, as Arrow gives it to Python.

    A language that was heard in the speech stays where the catalogue names none.
    """
    return {
        "uri": item.uri,
        "transcript_uri": item.transcript_uri,
        "language": item.language or row["language"],
        "tags": list(item.tags),
        "attributes": dict(item.attributes),
    }


def has_labels(item: CatalogueItem, row: Mapping[str, Any]) -> bool:
    """Whether `row` says of a title what `item` does, in whatever order attributes stand."""
    stored = {name: row[name] for name in LABELS}
    stored |= {"tags": row["tags"] or [], "attributes": dict(row["attributes"] or ())}
    return stored == labels_of(item, row)


def with_labels(rows: pa.Table, items: Mapping[str, CatalogueItem], space: SpaceRef) -> pa.Table:
    """Titles' rows of `space` that say what `items`, by media id, do; those of others stay as they are."""
    rows = rows.cast(title_schema(space))
    said = rows.select(["media_id", *LABELS]).to_pylist()
    for row in said:
        if row["media_id"] in items:
            row |= labels_of(items[row["media_id"]], row)
            row["attributes"] = list(row["attributes"].items())  # a map's entries are pairs
    for name in LABELS:
        at = rows.schema.get_field_index(name)
        field = rows.schema.field(at)
        rows = rows.set_column(at, field, pa.array([row[name] for row in said], field.type))
    return rows
