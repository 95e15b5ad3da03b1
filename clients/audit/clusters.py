"""Clusters of a library: its vectors reduced by PCA, then HDBSCAN, or k-means where it is large.

HDBSCAN finds how many clusters there are and leaves out what lies between them, but its time grows
with the square of the titles. k-means in small batches takes each title as it comes, but must be told how
many clusters there are. A float32 vector is 7 KB; reduced it is 64 bytes, so a million titles fit in 64 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import HDBSCAN, MiniBatchKMeans
from sklearn.decomposition import PCA

from resonance.clients.audit.groups import Codes, Dimension
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import Store
from resonance.clients.results import Vector

#: Up to so many titles HDBSCAN, beyond k-means.
MOST_FOR_HDBSCAN = 20_000
#: Dimensions left by PCA. Density, which HDBSCAN goes by, says little in more (all distances become alike).
REDUCED_TO = 16
#: Titles that PCA is fitted on, 150 MB: the variance along a direction is then known to 1% (sqrt(2 / n)).
FITTED_ON = 20_000
#: A cluster of HDBSCAN has at least this many titles, or this share of the library: in fewer titles no
#: deviation of any usual size could be told from chance.
LEAST_IN_CLUSTER, LEAST_SHARE = 20, 1 / 200
#: Titles that k-means looks at in a step.
STEP = 4096
OUTSIDE = "outside all"


class Reducer:
    """Vectors [n, 1788] to [n, REDUCED_TO], by directions that were fitted on a sample.

    Attributes:
        kept: share of the sample's variance that is left, 0 to 1.
    """

    def __init__(self, sample: Vector, seed: int) -> None:
        width = min(REDUCED_TO, *sample.shape)
        with np.errstate(invalid="ignore"):  # where all are the same nothing varies, and nothing is lost
            self._pca = PCA(width, svd_solver="randomized", random_state=seed).fit(sample)
        kept = float(self._pca.explained_variance_ratio_.sum())
        self.kept = min(kept, 1.0) if np.isfinite(kept) else 1.0

    def reduce(self, vectors: Vector) -> Vector:
        """Float32 [n, REDUCED_TO], or fewer columns where the sample was smaller."""
        return np.asarray(self._pca.transform(vectors), np.float32)


@dataclass(frozen=True, slots=True)
class Clusters:
    """Titles by cluster. `method`: how they were found, in words; `places`: the largest first."""

    places: Dimension
    method: str

    @property
    def count(self) -> int:
        """Clusters; what lies outside of all is none."""
        return sum(name != OUTSIDE for name in self.places.groups)


def sample_vectors(store: Store, seed: int, *, most: int = FITTED_ON) -> Vector:
    """Vectors of up to `most` titles of a store, float32 [n, 1788], any as likely; reads it once.

    Raises:
        StoreError: it cannot be read. UsageError: it has fewer than two titles.
    """
    total = store.count()
    if total < 2:
        raise UsageError(f"{store.uri}: {total} titles; expected at least two")
    chance = np.random.default_rng(seed)
    rows = np.sort(chance.choice(total, min(most, total), replace=False))
    taken, first = [], 0
    for vectors in _vectors(store):
        here = rows[(rows >= first) & (rows < first + len(vectors))] - first
        taken.append(vectors[here])
        first += len(vectors)
    return np.concatenate(taken)


def find_clusters(reduced: Vector, *, wanted: int | None = None, seed: int = 0) -> Clusters:
    """Clusters of reduced vectors, float32 [N, d].

    Args:
        wanted: so many, by k-means. None: by HDBSCAN up to `MOST_FOR_HDBSCAN` titles; beyond by k-means, half
            the square root of the titles, so that a cluster grows with the library as their number does.
    """
    titles = len(reduced)
    if wanted is None and titles <= MOST_FOR_HDBSCAN:
        least = max(LEAST_IN_CLUSTER, round(titles * LEAST_SHARE))
        if titles <= least:
            labels = np.full(titles, -1)
        else:
            labels = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(reduced)
        return Clusters(_places(labels), f"HDBSCAN, at least {least} titles a cluster")
    asked = wanted or max(round(titles**0.5 / 2), 2)
    number = min(asked, titles)
    cap = f" (of {asked} that were asked for)" if number < asked else ""
    means = MiniBatchKMeans(number, batch_size=STEP, n_init=3, random_state=seed).fit(reduced)
    labels = np.concatenate([means.predict(reduced[at : at + STEP]) for at in range(0, titles, STEP)])
    return Clusters(_places(labels), f"k-means in batches of {STEP}, {number} means{cap}")


def _places(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Dimension:
    found, counts = np.unique(labels[labels >= 0], return_counts=True)
    order = found[np.argsort(-counts, kind="stable")]
    names = [f"cluster {at + 1}" for at in range(len(order))]
    table = np.full((int(labels.max()) if len(found) else 0) + 2, len(order), np.int32)  # last: outside
    table[order] = np.arange(len(order), dtype=np.int32)
    codes: Codes = table[labels]
    if names and (labels < 0).any():  # where nothing was found, all titles are no place of the library
        names.append(OUTSIDE)
    return Dimension("cluster", tuple(names), codes)


def _vectors(store: Store) -> Iterator[Vector]:
    for batch in store.titles(["vector"]):
        yield vectors_of(batch["vector"])
