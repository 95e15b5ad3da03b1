"""Contours of a library in a Parquet file beside its store: one row a segment with sound.

| column | |
|---|---|
| `media_id`, `content_hash` | as in the store, so that a title that changed is known |
| `segment`, `start_s` | which segment, and when it starts in the title |
| `hop_s` | time between two pitches |
| `contour` | float32, semitones above A4 (440 Hz), NaN where there is no pitch |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resonance.clients.errors import described
from resonance.clients.ingest.errors import StoreError
from resonance.clients.media.types import FloatArray
from resonance.clients.new_files import whole_file

#: The key of the schema's metadata that says how contours were made.
RECIPE_KEY = b"resonance.contours"
FIELDS = [
    ("media_id", pa.string()),
    ("content_hash", pa.string()),
    ("segment", pa.int32()),
    ("start_s", pa.float64()),
    ("hop_s", pa.float64()),
    ("contour", pa.list_(pa.float32())),
]
EXPECTED_CONTOURS = "a file that `resonance contours` wrote"
#: Two segments follow each other where the second starts this near to the first one's end, in hops.
_SEAM_HOPS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SegmentContour:
    """The contour of one segment, float32 [steps]."""

    segment: int
    start_s: float
    contour: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A stretch of a title's contour without a gap in time.

    pitches: float32 [steps], semitones, NaN where there is no pitch; start_s: of its first step in the title.
    """

    media_id: str
    start_s: float
    pitches: FloatArray


@dataclass(frozen=True, slots=True)
class Contours:
    """What a file holds.

    Attributes:
        recipe: how they were made; those of another recipe cannot be compared.
        rows: columns `FIELDS`, the segments of a title in order, one after another.
    """

    recipe: str
    rows: pa.Table

    def titles(self) -> dict[str, str]:
        """The content hash of each title that is in it, by media id."""
        names = pc.unique(self.rows["media_id"])
        first = pc.index_in(names, self.rows["media_id"])
        hashes = self.rows["content_hash"].take(first)
        return dict(zip(names.to_pylist(), hashes.to_pylist(), strict=True))

    def of(self, media_ids: Collection[str]) -> Contours:
        """Only those titles."""
        wanted = pa.array(list(media_ids), pa.string())
        return Contours(self.recipe, self.rows.filter(pc.is_in(self.rows["media_id"], wanted)))

    def with_titles(
        self, titles: Mapping[str, tuple[str, Iterable[SegmentContour]]], hop_s: float
    ) -> Contours:
        """And those titles: content hash and contours by media id; none of them may be in it already."""
        columns: dict[str, list[object]] = {name: [] for name, _ in FIELDS}
        for media_id, (content_hash, segments) in titles.items():
            for part in segments:
                row = (media_id, content_hash, part.segment, part.start_s, hop_s, part.contour)
                for (name, _), value in zip(FIELDS, row, strict=True):
                    columns[name].append(value)
        more = pa.table({name: pa.array(columns[name], kind) for name, kind in FIELDS})
        return Contours(self.recipe, pa.concat_tables([self.rows, more]))

    def hop_s(self) -> float | None:
        """Time between two pitches; None where there is no row."""
        return self.rows["hop_s"][0].as_py() if len(self.rows) else None

    def tracks(self) -> list[Track]:
        """The contours of each title, segments that follow one another as one."""
        rows = self.rows.combine_chunks()
        names, starts_s = rows["media_id"].to_pylist(), rows["start_s"].to_numpy()
        hops_s = rows["hop_s"].to_numpy()
        offsets, values = _lists(rows["contour"])
        tracks: list[Track] = []
        held: list[FloatArray] = []
        first_s = 0.0
        for at, name in enumerate(names):
            part = values[offsets[at] : offsets[at + 1]]
            if held:
                end_s = starts_s[at - 1] + hops_s[at - 1] * len(held[-1])
                if names[at - 1] == name and abs(starts_s[at] - end_s) <= _SEAM_HOPS * hops_s[at]:
                    held.append(part)
                    continue
                tracks.append(Track(names[at - 1], first_s, np.concatenate(held)))
            held, first_s = [part], float(starts_s[at])
        if held:
            tracks.append(Track(names[-1], first_s, np.concatenate(held)))
        return tracks


def no_contours(recipe: str) -> Contours:
    """A file that is not there yet."""
    return Contours(recipe, pa.schema(FIELDS).empty_table())


def read_contours(path: Path) -> Contours:
    """What `write_contours` wrote. Blocks.

    Raises:
        StoreError: it is not there, cannot be read or is another file.
    """
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(str(path), described(error), EXPECTED_CONTOURS) from error
    recipe = (rows.schema.metadata or {}).get(RECIPE_KEY)
    found = [(field.name, field.type) for field in rows.schema]
    if recipe is None or found != FIELDS:
        came = f"columns {', '.join(rows.schema.names)}"
        raise StoreError(str(path), came, EXPECTED_CONTOURS)
    return Contours(recipe.decode(), rows.replace_schema_metadata(None))


def write_contours(path: Path, contours: Contours) -> None:
    """Put `contours` at `path` in the place of what is there: all of them or none. Blocks.

    Raises:
        StoreError: it cannot be written.
    """
    rows = contours.rows.replace_schema_metadata({RECIPE_KEY: contours.recipe.encode()})
    try:
        with whole_file(path) as half, half.open("wb") as file:
            pq.write_table(rows, file, compression="zstd")
    except (OSError, pa.ArrowException) as error:
        raise StoreError(str(path), described(error), "a file in a folder that can be written") from error


def _lists(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Offsets [rows + 1] and values of a column of lists."""
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of no row
        return np.zeros(1, np.int64), np.zeros(0, np.float32)
    lengths = pc.list_value_length(lists).to_numpy()
    return np.concatenate([[0], np.cumsum(lengths)]), lists.flatten().to_numpy()
