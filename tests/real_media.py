"""Which of the real media a test looks at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def rows_of(media: Path, kind: str, *, whole: bool = True) -> list[dict[str, Any]]:
    """The manifest's rows of a kind; where not `whole`, the shortest of each container and set of codecs."""
    rows = json.loads((media / "manifest.json").read_text())
    found = [row for row in rows if row["kind"] == kind]
    assert found, f"the manifest has no {kind}"
    if whole:
        return found
    shortest = {
        (Path(row["path"]).suffix, frozenset(row["codecs"])): row for row in sorted(found, key=_long_first)
    }
    return list(shortest.values())


def _long_first(row: dict[str, Any]) -> float:
    return -float(row["dur"])
