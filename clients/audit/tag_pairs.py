"""Tags against cosines: spread inside a tag, pairs on which both disagree, titles far from their tag.

Cosines are of whole stored vectors, inferred blocks included, as a search sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import t as student

from resonance.clients.audit.explained import Z_95
from resonance.clients.audit.tag_table import TagTable
from resonance.space.blocks import BoolArray, FloatArray

#: Titles whose pairs are looked at one by one, drawn from the sample: 25 million pairs.
PAIR_TITLES = 5000
NEIGHBOURS = 10
EXAMPLES = 20
#: A suspect lies so many robust standard deviations below the middle of its tag.
SUSPECT_Z = -3.5
#: Median absolute deviation to standard deviation of a normal distribution, 1 / Phi^-1(3/4).
_MAD_TO_SD = 1.4826
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean cosine of a tag's titles to its others.

    interval: of that, at 95%. at_most: no tag's is above its own, at 97.5% for all tags together.
    """

    tag: str
    titles: int
    cosine: float
    interval: tuple[float, float]
    at_most: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A title far from its tag's others: its mean cosine to them, and z among theirs."""

    title: int
    tag: str
    cosine: float
    z: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two titles of the sample by their places."""

    one: int
    other: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """Attributes:
    far: pairs that carry the same tags and lie farthest apart. near: pairs without a common tag, nearest.
    neighbours_share, any_share: share of pairs that have a tag in common, of each title with its
        `NEIGHBOURS` nearest, and of all pairs; of titles that carry a tag.
    interval: of neighbours_share, at 95%.
    same_tags_cosine: mean cosine of pairs that carry the same tags; None where there is none.
    titles: so many were looked at.
    """

    far: tuple[Pair, ...]
    near: tuple[Pair, ...]
    neighbours_share: float
    interval: tuple[float, float]
    any_share: float
    same_tags_cosine: float | None
    titles: int


def mean_cosine(vectors: NDArray[np.float32]) -> float:
    """Of all pairs of unit vectors [n, d]; exact, without looking at pairs."""
    n = len(vectors)
    total = vectors.sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def spreads(vectors: NDArray[np.float32], table: TagTable) -> tuple[list[Spread], list[Suspect]]:
    """Of unit vectors [n, d]: each tag's spread, and what lies far from it, farthest first.

    Errors are the jackknife's of a mean over pairs (Arvesen, Annals of Mathematical Statistics 40, 1969),
    intervals Student's; `at_most` is Bonferroni's over the tags.
    """
    found, suspects = [], []
    for at, tag in enumerate(table.names):
        mine = np.flatnonzero(table.carried[:, at])
        own = vectors[mine]
        n = len(own)
        cosines = (own @ own.sum(axis=0) - 1) / (n - 1)  # (n,), each title to the others
        cosine = float(cosines.mean())
        # a mean over pairs: to leave a title out moves it by twice its distance over n - 2
        error = 2 * float(cosines.std()) * np.sqrt(n - 1) / max(n - 2, 1)
        half, reach = error * student.ppf((0.975, 1 - 0.025 / len(table.names)), n - 1)
        interval = (cosine - half, cosine + half)
        found.append(Spread(tag, n, cosine, interval, cosine + reach))
        middle = np.median(cosines)
        deviation = _MAD_TO_SD * np.median(np.abs(cosines - middle))
        if deviation > 0:
            z = (cosines - middle) / deviation
            suspects += [
                Suspect(int(mine[i]), tag, float(cosines[i]), float(z[i]))
                for i in np.flatnonzero(z < SUSPECT_Z)
            ]
    return found, sorted(suspects, key=lambda suspect: suspect.z)


def tag_pairs(
    vectors: NDArray[np.float32], tags: Sequence[tuple[str, ...]], rng: np.random.Generator
) -> Pairs:
    """Of unit vectors [n, d]; all tags count for what two titles share, rare ones too."""
    tagged = np.flatnonzero([bool(own) for own in tags])
    chosen = np.sort(rng.choice(tagged, min(len(tagged), PAIR_TITLES), replace=False))
    own, sets = vectors[chosen], [tags[i] for i in chosen]
    groups = np.array(_numbered(sets))
    multi_hot = _multi_hot(sets)  # (m, q)
    n = len(chosen)
    neighbours = min(NEIGHBOURS, n - 1)
    near_to, in_common = np.empty((2, n, neighbours), np.intp)
    common_pairs, same_sum, same_count = 0.0, 0.0, 0
    far: list[Pair] = []
    near: list[Pair] = []
    for first in range(0, n, _ROWS_AT_ONCE):
        rows = np.arange(first, min(first + _ROWS_AT_ONCE, n))
        cosines = own[rows] @ own.T  # (r, m)
        common = (multi_hot[rows] @ multi_hot.T).toarray() > 0
        same = groups[rows][:, None] == groups
        itself = rows[:, None] == np.arange(n)
        nearest = np.argpartition(np.where(itself, -2, cosines), n - neighbours, axis=1)[:, n - neighbours :]
        near_to[rows], in_common[rows] = nearest, np.take_along_axis(common, nearest, axis=1)
        common_pairs += float((common & ~itself).sum())
        later = rows[:, None] < np.arange(n)  # each pair once
        same_sum += float(cosines[same & later].sum(dtype=np.float64))
        same_count += int((same & later).sum())
        far = _extreme(far, cosines, same & later, chosen, rows, sign=1)
        near = _extreme(near, cosines, ~common & later, chosen, rows, sign=-1)
    share = float(in_common.mean())
    half = Z_95 * _share_error(near_to, in_common - share)
    return Pairs(
        far=tuple(far),
        near=tuple(near),
        neighbours_share=share,
        interval=(max(share - half, 0.0), min(share + half, 1.0)),
        any_share=common_pairs / (n * (n - 1)),
        same_tags_cosine=same_sum / same_count if same_count else None,
        titles=n,
    )


def _share_error(near_to: NDArray[np.intp], excess: FloatArray) -> float:
    """The standard error of a mean over titles and their neighbours [n, k]: what each pair is above it.

    Pairs that share a title depend on each other: the variance is the sum over titles of their pairs' sum
    squared, in either role, less the sum over pairs squared, which that counts twice (the estimator for
    dyads of Fafchamps and Gubert, Journal of Development Economics 83, 2007, as Aronow, Samii and Assenova,
    Political Analysis 23, 2015, sum it). It is no sum of squares, so it never falls below that of the
    titles' own shares.
    """
    n, k = near_to.shape
    one_way = csr_array((excess.ravel(), near_to.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    pairs = one_way + one_way.T  # each pair twice
    by_title = float((pairs.sum(axis=1) ** 2).sum()) - float((pairs**2).sum()) / 2
    return float(np.sqrt(max(by_title, float((excess.sum(axis=1) ** 2).sum())))) / (n * k)


def _numbered(sets: Sequence[tuple[str, ...]]) -> list[int]:
    numbers: dict[tuple[str, ...], int] = {}
    return [numbers.setdefault(own, len(numbers)) for own in sets]


def _multi_hot(sets: Sequence[tuple[str, ...]]) -> csr_array:
    """Sparse, float32 [m, q]: of keywords there may be more than titles."""
    place = {tag: at for at, tag in enumerate({tag: None for own in sets for tag in own})}
    columns = [place[tag] for own in sets for tag in own]
    starts = np.cumsum([0, *(len(own) for own in sets)])
    return csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(sets), len(place)))


def _extreme(
    best: list[Pair],
    cosines: NDArray[np.float32],
    where: BoolArray,
    names: NDArray[np.intp],
    rows: NDArray[np.intp],
    sign: int,
) -> list[Pair]:
    """The `EXAMPLES` pairs of smallest `sign * cosine` of those known and those of a block `where` allowed.

    A title comes once in them: one odd title would fill the list.
    """
    values = np.where(where, sign * cosines, np.inf)
    columns = values.argmin(axis=1)  # the most extreme of each row
    found = values[np.arange(len(rows)), columns]
    new = [
        Pair(int(names[rows[i]]), int(names[columns[i]]), float(cosines[i, columns[i]]))
        for i in np.flatnonzero(np.isfinite(found))
    ]
    kept: list[Pair] = []
    seen: set[int] = set()
    for pair in sorted([*best, *new], key=lambda pair: sign * pair.cosine):
        if len(kept) < EXAMPLES and not {pair.one, pair.other} & seen:
            kept.append(pair)
            seen |= {pair.one, pair.other}
    return kept
