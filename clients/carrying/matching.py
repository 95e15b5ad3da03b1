"""Titles that stand in two stores of two spaces, unchanged."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from resonance.clients.discovery.rows import vectors_of
from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import Store
from resonance.clients.results import SpaceRef, Vector
from resonance.space.blocks import BoolArray
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH

#: Titles looked at by default: 143 MB of vectors, and a mean over a tenth of them known to 1.6 points
#: at worst (0.5 / sqrt(1000)).
TITLES = 10_000
#: Names asked for at once.
_ASKED = 500


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The same n titles in both spaces, in the order of the hashes of their names: a random one.

    Attributes:
        old, new: float32 [n, 1788]. present: bool [n, 3], which modalities both really have.
        in_both: titles that could have been taken. changed: those left out since their media is another.
    """

    media_ids: tuple[str, ...]
    old: Vector
    new: Vector
    present: BoolArray
    old_space: SpaceRef
    new_space: SpaceRef
    in_both: int
    changed: int


def match_titles(old: Store, new: Store, limit: int = TITLES) -> Matched:
    """Titles of the same media id and content hash in both, of copies that have one vector the first; where
    there are more than `limit`, those of the smallest hashes. Blocks. The names of `new` are held,
    some 200 bytes a title.

    Raises:
        UsageError: both are of one space, or no title stands in both. StoreError: one cannot be read.
    """
    if old.space.fingerprint == new.space.fingerprint:
        raise UsageError(
            f"{old.uri} and {new.uri} are both of space {old.space.fingerprint[:12]}; "
            "expected two: in one space there is nothing to carry"
        )
    hashes = dict(_names(new))
    counted = {"both": 0, "changed": 0}

    def unchanged() -> Iterator[str]:
        for name, version in _names(old):
            if name in hashes:
                same = hashes[name] == version
                counted["both" if same else "changed"] += 1
                if same:
                    yield name

    names = heapq.nsmallest(limit, unchanged(), key=_hash)
    if not names:
        raise UsageError(
            f"no title stands in both {old.uri} and {new.uri} with the same media ({counted['changed']} with "
            "another); expected some that were embedded in both"
        )
    (old_vectors, old_present), (new_vectors, new_present) = (_read(store, names) for store in (old, new))
    present = old_present & new_present
    kept = present.any(axis=1)
    kept[kept] = _firsts(old_vectors[kept])  # a copy that cannot be taken stands for no other
    return Matched(
        tuple(name for name, taken in zip(names, kept, strict=True) if taken),
        old_vectors[kept],
        new_vectors[kept],
        present[kept],
        old.space,
        new.space,
        counted["both"],
        counted["changed"],
    )


def _firsts(vectors: Vector) -> BoolArray:
    """Which of vectors [n, 1788] come for the first time, bool [n]: of copies of one film one would be fitted
    on and another tell the loss, which it would know by heart."""
    seen: set[bytes] = set()
    found = np.zeros(len(vectors), np.bool_)
    for at, vector in enumerate(vectors):
        digest = blake2b(vector.tobytes(), digest_size=16).digest()
        found[at] = digest not in seen
        seen.add(digest)
    return found


def _names(store: Store) -> Iterator[tuple[str, str]]:
    for batch in store.titles(["media_id", "content_hash"]):
        yield from zip(batch["media_id"].to_pylist(), batch["content_hash"].to_pylist(), strict=True)


def _hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()


def _read(store: Store, names: Sequence[str]) -> tuple[Vector, BoolArray]:
    """Vectors float32 [n, 1788] and presence bool [n, 3]; nothing is present of a title that went away."""
    places = {name: at for at, name in enumerate(names)}
    vectors = np.zeros((len(names), TITLE_WIDTH), np.float32)
    present = np.zeros((len(names), len(MODALITIES)), np.bool_)
    for start in range(0, len(names), _ASKED):
        asked = names[start : start + _ASKED]
        for batch in store.find(asked, ["media_id", "vector", "present"]):
            rows = [places[name] for name in batch["media_id"].to_pylist()]
            vectors[rows] = vectors_of(batch["vector"])
            present[rows] = [[row[m] for m in MODALITIES] for row in batch["present"].to_pylist()]
    return vectors, present
