"""A library as arrays: all of a small one, a stated random sample of a large one, read as a stream.

A vector is 7 KB, so a million titles are 7.1 GB; 20,000 of them are 143 MB. Whether a modality is there is
counted over all titles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resonance.clients.discovery.rows import vectors_of
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.types import Store
from resonance.space.blocks import NORM_TOLERANCE, ROOT_BLOCKS
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES

_COLUMNS = ("media_id", "tags", "present", "vector")


@dataclass(frozen=True, slots=True, eq=False)
class LibrarySample:
    """Titles of a library, drawn without replacement, each with the same probability.

    Attributes:
        media_ids: n names.
        blocks: unit blocks, float32 [n, 3, 596].
        present: which of them are real, bool [n, 3]; the others were inferred.
        tags: n tuples, sorted, each tag once.
        titles: how many the library has.
        titles_with: how many of all of those have each modality, int64 [3].
    """

    media_ids: tuple[str, ...]
    blocks: NDArray[np.float32]
    present: NDArray[np.bool_]
    tags: tuple[tuple[str, ...], ...]
    titles: int
    titles_with: NDArray[np.int64]


def read_sample(store: Store, most: int, seed: int) -> LibrarySample:
    """At most `most` titles with the tags that are stored with them. Blocks.

    Raises:
        StoreError: it cannot be read, is empty, or holds a block that is no unit vector.
    """
    titles = store.count()
    rng = np.random.default_rng(seed)
    # places in the order of reading
    chosen = np.sort(rng.choice(titles, most, replace=False)) if titles > most else np.arange(titles)
    media_ids: list[str] = []
    tags: list[tuple[str, ...]] = []
    blocks = np.empty((len(chosen), len(MODALITIES), BLOCK_WIDTH), np.float32)
    present = np.empty((len(chosen), len(MODALITIES)), np.bool_)
    titles_with = np.zeros(len(MODALITIES), np.int64)
    first = 0
    for batch in store.titles(_COLUMNS):
        there = _presence(batch["present"])
        titles_with += there.sum(axis=0)
        low, high = np.searchsorted(chosen, [first, first + len(batch)])
        places = chosen[low:high] - first
        if len(places):
            rows = batch.take(pa.array(places))
            blocks[low:high] = vectors_of(rows["vector"]).reshape(-1, *blocks.shape[1:])  # (B, 3, 596)
            present[low:high] = there[places]
            media_ids += rows["media_id"].to_pylist()
            tags += [tuple(sorted(set(row or ()))) for row in rows["tags"].to_pylist()]
        first += len(batch)
    if not first or len(media_ids) != len(chosen):
        raise StoreError(
            store.uri, f"{first} titles read of {titles}", "titles; is a job writing? audit when it is done"
        )
    blocks *= np.float32(ROOT_BLOCKS)
    _check_unit(store.uri, blocks, media_ids)
    return LibrarySample(tuple(media_ids), blocks, present, tuple(tags), titles, titles_with)


def _presence(column: pa.StructArray) -> NDArray[np.bool_]:
    return np.stack(
        [column.field(name).to_numpy(zero_copy_only=False).astype(np.bool_) for name in MODALITIES], axis=1
    )


def _check_unit(uri: str, blocks: NDArray[np.float32], media_ids: list[str]) -> None:
    norms = np.linalg.norm(blocks, axis=-1)  # (n, 3)
    wrong = ~(np.abs(norms - 1) <= NORM_TOLERANCE)  # NaN too
    if wrong.any():
        title, block = np.argwhere(wrong)[0]
        raise StoreError(
            f"{uri} title {media_ids[title]}",
            f"a {MODALITIES[block]} block of norm {norms[title, block]:g}",
            "1; `resonance validate` tells of all such",
        )
