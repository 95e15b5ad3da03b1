"""A hum looked for in the contours beside a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resonance.clients.discovery.contouring import sound_contour
from resonance.clients.discovery.contours import Contours, read_contours
from resonance.clients.discovery.humming import HumHit
from resonance.clients.discovery.melody import MelodyIndex
from resonance.clients.discovery.pitch import HOP_S, RECIPE
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.types import Store


@dataclass(frozen=True, slots=True)
class ContourSearch:
    """What was found; `without`: titles with sound that have no contours, or those of an earlier version."""

    hits: list[HumHit]
    without: int


def find_by_contour(store: Store, contours_file: Path, hum_file: Path, *, limit: int = 10) -> ContourSearch:
    """The titles of a store whose contours a hum fits best. Blocks.

    Raises:
        StoreError: store or contours cannot be read, or these were made by another version.
        MediaError: the hum's own fault. UsageError: no melody is heard in it.
    """
    contours = read_contours(contours_file)
    if contours.recipe != RECIPE:
        raise StoreError(
            str(contours_file),
            f"contours made as '{contours.recipe}'",
            f"'{RECIPE}': run `resonance contours`",
        )
    uris, current, without = _current(store, contours)
    index = MelodyIndex(contours.of(current).tracks(), HOP_S)
    hits = [
        HumHit(hit.media_id, uris[hit.media_id], hit.start_s, hit.end_s, melody=hit)
        for hit in index.find(sound_contour(hum_file), limit=limit)
    ]
    return ContourSearch(hits, without)


def _current(store: Store, contours: Contours) -> tuple[dict[str, str], list[str], int]:
    """URIs by media id, the titles whose contours are of their present version, and how many lack any."""
    known = contours.titles()
    uris: dict[str, str] = {}
    current, without = [], 0
    for batch in store.titles(["media_id", "uri", "content_hash", "present"]):
        for row in batch.to_pylist():
            uris[row["media_id"]] = row["uri"]
            if known.get(row["media_id"]) == row["content_hash"]:
                current.append(row["media_id"])
            else:
                without += bool(row["present"]["audio"])
    return uris, current, without
