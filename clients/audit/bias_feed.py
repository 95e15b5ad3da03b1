"""What an audit of representation hands to training: the groups that are unevenly spread, and who is in them.

A Parquet file, a row a title: `media_id`, `uri`, and a column `group:NAME` for each grouping in which there
was an alert: the group, empty where the title is of none that deviates, null where it is not known. What was
found, and in which space, is in the schema's metadata. Read here; written by
`resonance.clients.audit.bias_feeding`, which needs more libraries than training has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resonance.clients.audit.groups import UNKNOWN, Codes
from resonance.clients.errors import UsageError
from resonance.clients.results import SpaceRef

#: Of the schema's metadata; what columns of groups begin with.
KEY, VERSION = b"resonance.bias_feed", 1
COLUMN = "group:"
_EXPECTED = "a file that `resonance audit bias --feed` wrote"


@dataclass(frozen=True, slots=True, eq=False)
class BiasFeed:
    """The groups of a store's titles, as far as they deviate.

    Attributes:
        store, space: what was audited. found: the alerts, as the report's JSON has them, a row each.
        dimensions: groupings with an alert. groups: those that deviate, by grouping.
        media_ids, uris: of N titles.
        codes: int32 [N, D], an index of `groups[d]`; `len(groups[d])`: known, but of none of them; `UNKNOWN`.
    """

    store: str
    space: SpaceRef
    found: tuple[dict[str, Any], ...]
    dimensions: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    media_ids: tuple[str, ...]
    uris: tuple[str, ...]
    codes: Codes


def read_feed(path: Path) -> BiasFeed:
    """Read what `resonance.clients.audit.bias_feeding.write_feed` wrote.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[KEY])
        if facts["version"] != VERSION:
            raise ValueError(f"version {facts['version']!r}, not {VERSION}")
        groups = {name: tuple(of) for name, of in facts["groups"].items()}
        codes = np.full((table.num_rows, len(groups)), UNKNOWN, np.int32)
        for at, (name, of) in enumerate(groups.items()):
            number = {None: UNKNOWN, "": len(of), **{group: code for code, group in enumerate(of)}}
            codes[:, at] = [number[value] for value in table[f"{COLUMN}{name}"].to_pylist()]
        return BiasFeed(
            facts["store"],
            SpaceRef(**facts["space"]),
            tuple(facts["found"]),
            tuple(groups),
            tuple(groups.values()),
            tuple(table["media_id"].to_pylist()),
            tuple(table["uri"].to_pylist()),
            codes,
        )
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror or error}); expected {_EXPECTED}"
        ) from error
    except (pa.ArrowException, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path}: it is none ({type(error).__name__}: {error}); expected {_EXPECTED}"
        ) from error
