"""A few titles of a library, to tell what is usual there.

The raw share of a block is no reason for anything: modalities lie apart in a shared space, so the sound of
any title scores nearly the same against the sound of any other. What says something is how far a share lies
from the same query's shares with other titles.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from resonance.clients.discovery.reading import whole_titles
from resonance.clients.discovery.types import Library, StoredTitle
from resonance.clients.results import Vector
from resonance.clients.signals import signal_value
from resonance.space.blocks import BoolArray, FloatArray
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH
from resonance.space.scores import Query, Weights

#: Titles sampled. The mean of 100 numbers is known to a tenth of their spread, and the spread to 7%
#: (1 / sqrt(2 n)).
SAMPLE_TITLES = 100
#: Fewer than this tell no spread: it would be known to 24%.
LEAST_COMPARED = 10


@dataclass(frozen=True, slots=True, eq=False)
class LibrarySample:
    """Sampled titles.

    Attributes:
        vectors: float32 [n, 1788]. present: bool [n, 3].
        signals: float64 [n] by name; NaN where a title has none.
    """

    media_ids: tuple[str, ...]
    vectors: Vector
    present: BoolArray
    signals: Mapping[str, FloatArray]

    def shares(self, query: Query, weights: Weights) -> FloatArray:
        """Of the score of every title, float64 [n, 3]."""
        mine = query.weighted(weights).reshape(len(MODALITIES), BLOCK_WIDTH)
        theirs = self.vectors.astype(np.float64).reshape(-1, len(MODALITIES), BLOCK_WIDTH)  # (n, 3, 596)
        return np.asarray(np.einsum("nmd,md->nm", theirs, mine))

    def without(self, media_ids: Collection[str]) -> LibrarySample:
        """The sample less some titles."""
        kept = np.array([name not in media_ids for name in self.media_ids], np.bool_)
        return LibrarySample(
            tuple(name for name in self.media_ids if name not in media_ids),
            self.vectors[kept],
            self.present[kept],
            {name: values[kept] for name, values in self.signals.items()},
        )


def sample_library(library: Library, count: int = SAMPLE_TITLES) -> LibrarySample:
    """`count` titles, or all where there are fewer. Blocks.

    Those whose names have the smallest hashes: the same ones each time, and nearly the same after the library
    grew.

    Raises:
        StoreError: it cannot be read.
    """
    names = heapq.nsmallest(count, (facts.media_id for facts in library.facts()), key=_hash)
    media_ids, vectors, present, signals = [], [], [], []
    for title in whole_titles(library, names):
        media_ids.append(title.facts.media_id)
        vectors.append(title.vector)
        present.append(title.facts.present)
        signals.append(title_signals(title))
    known = sorted({name for of_one in signals for name in of_one})
    return LibrarySample(
        tuple(media_ids),
        np.array(vectors, np.float32).reshape(-1, TITLE_WIDTH),  # (n, 1788), n may be 0
        np.array(present, np.bool_).reshape(-1, 3),
        {name: np.array([of_one.get(name, math.nan) for of_one in signals]) for name in known},
    )


def title_signals(title: StoredTitle) -> dict[str, float]:
    """Each measured signal over the whole title: the mean of its segments' values by their salience.

    What no segment tells, and what is told by segments without salience alone, is left out.
    """
    sums: dict[str, tuple[float, float]] = {}
    for segment in title.segments:
        for name, measured in segment.signals.items():
            value = signal_value(measured)
            if value is not None and math.isfinite(value):
                salience = segment.salience or 0.0
                total, weight = sums.get(name, (0.0, 0.0))
                sums[name] = (total + salience * value, weight + salience)
    return {name: total / weight for name, (total, weight) in sums.items() if weight > 0}


def place_among(values: FloatArray, value: float) -> float | None:
    """The share of `values` [n] below `value`, 0 to 1; None where too few are known.

    Equal ones count as below or above, whatever brings it nearer to 0.5: what most others have, too, tells a
    title from none of them.
    """
    known: NDArray[np.float64] = values[np.isfinite(values)]
    if len(known) < LEAST_COMPARED:
        return None
    return min(max(0.5, float((known < value).mean())), float((known <= value).mean()))


def _hash(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
