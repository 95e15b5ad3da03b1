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


def labels_digest(item: CatalogueItem) -> str:
    """Another one for every other thing that is said of a title."""
    said = [item.uri, item.transcript_uri, item.language, item.tags, sorted(item.attributes.items())]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()


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


def with_labels(row: pa.Table, item: CatalogueItem, space: SpaceRef) -> pa.Table:
    """One title's row of `space` that says what `item` does."""
    row = row.cast(title_schema(space))
    for name, value in labels_of(item, row.select(LABELS).to_pylist()[0]).items():
        at = row.schema.get_field_index(name)
        # a map's entries are pairs
        entry = list(value.items()) if isinstance(value, dict) else value
        row = row.set_column(at, row.schema.field(at), pa.array([entry], row.schema.field(at).type))
    return row
