"""What an audit of representation found, written for training; see `resonance.clients.audit.bias_feed`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.audit.bias import BiasAudit
from resonance.clients.audit.bias_feed import COLUMN, KEY, VERSION
from resonance.clients.audit.groups import Dimension
from resonance.clients.audit.representation import Against, Finding
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.stores import open_store
from resonance.clients.new_files import whole_file


def space_alerts(audit: BiasAudit) -> list[Finding]:
    """Alerts that the space has a part in: of clusters and queries of the audited store."""
    places = {*audit.survey.clusters.places.groups, *(query.name for query in audit.settings.queries)}
    return [
        one
        for one in audit.alerts
        if one.cell.kind in ("cluster", "query")
        and one.cell.place in places
        and one.cell.against == Against.LIBRARY
    ]


def write_feed(audit: BiasAudit, path: Path) -> None:
    """Write it, whole or not at all; reads names of the store's titles once. Blocks.

    Raises:
        StoreError: the store cannot be read, or has changed since it was audited.
        UsageError: the file cannot be written.
    """
    alerts = space_alerts(audit)
    deviating = {
        dimension.name: sorted({one.cell.group for one in alerts if one.cell.dimension == dimension.name})
        for dimension in audit.survey.dimensions
    }
    dimensions = [one for one in audit.survey.dimensions if deviating[one.name]]
    facts = {
        "version": VERSION,
        "store": audit.survey.uri,
        "space": asdict(audit.survey.space),
        "groups": {one.name: deviating[one.name] for one in dimensions},
        "found": [_told(one) for one in alerts],
    }
    fields = [("media_id", pa.string()), ("uri", pa.string())]
    fields += [(f"{COLUMN}{one.name}", pa.string()) for one in dimensions]
    schema = pa.schema(fields, metadata={KEY: json.dumps(facts, ensure_ascii=False).encode()})
    try:
        with (
            whole_file(path) as half,
            half.open("wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for rows in _rows(audit, dimensions, deviating, schema):
                writer.write_batch(rows)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error


def _rows(
    audit: BiasAudit, dimensions: list[Dimension], deviating: dict[str, list[str]], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    first, titles = 0, audit.survey.titles
    with closing(open_store(audit.survey.uri)) as store:
        for batch in store.titles(["media_id", "uri"]):
            last = first + batch.num_rows
            if last > titles:
                break
            columns = [_named(one, deviating[one.name], slice(first, last)) for one in dimensions]
            yield pa.RecordBatch.from_arrays([batch["media_id"], batch["uri"], *columns], schema=schema)
            first = last
    if first != titles:
        came = f"no longer has the {titles} titles that were audited"
        raise StoreError(audit.survey.uri, came, "a store that stands still")


def _named(dimension: Dimension, deviating: list[str], rows: slice) -> pa.Array:
    """A column of groups; the table's last entry serves `UNKNOWN`, -1."""
    names = [name if name in deviating else "" for name in dimension.groups]
    table = np.array([*names, "", None], object)
    return pa.array(table[dimension.codes[rows]], pa.string())


def _told(one: Finding) -> dict[str, Any]:
    cell = one.cell
    return {
        "dimension": cell.dimension,
        "group": cell.group,
        "place": cell.place,
        "titles": cell.size,
        "share": cell.share,
        "expected": cell.expected,
        "low": one.interval[0],
        "high": one.interval[1],
        "adjusted_p": one.adjusted_p,
    }
