"""What a move costs, in neighbours: lists of titles that no fit has seen, in both spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.space.blocks import FloatArray, split
from resonance.space.carrying import Carrying
from resonance.space.descriptor import MODALITIES

#: Neighbours in a list.
NEIGHBOURS = 10
#: Resamples of an interval at 95%, and the seed they are drawn with.
RESAMPLES, SEED = 1000, 596


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over held-out titles; `interval`: (low, high) at 95%, by resampling the titles."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Loss:
    """What is left after a move. Lists are of the nearest `NEIGHBOURS` titles, the title itself left out.

    Attributes:
        true: share of the true new list (the title embedded again) that the carried vector finds.
        kept: share of the old list that the carried vector finds.
        unaligned: share of the true new list that the old vector finds, put there as it is.
        agreement: share of the old list that stands in the true new one: two spaces differ, and what the
            new one sees otherwise no map can bring.
        chance: what a random list would have of another, expected.
        own_first: share of titles whose carried vector finds the title itself first among all.
        own_rank: median place of the title itself, from 1.
        cosine: by modality, of the carried block with the true one, over titles that really have it.
    """

    titles: int
    library: int
    true: Figure
    kept: Figure
    unaligned: Figure
    agreement: Figure
    chance: float
    own_first: Figure
    own_rank: Figure
    cosine: dict[str, Figure]


def measure_loss(
    carrying: Carrying,
    old: FloatArray,
    new: FloatArray,
    present: NDArray[np.bool_],
    held_out: NDArray[np.intp],
) -> Loss:
    """Over titles `held_out` (places, [h]) among all; old and new: float [n, 1788], in the same order."""
    count = min(NEIGHBOURS, len(old) - 2)
    carried = carrying.vectors(old[held_out])  # (h, 1788)
    lists = {
        "carried": _nearest(carried, new, held_out, count),
        "raw": _nearest(old[held_out], new, held_out, count),
        "old": _nearest(old[held_out], old, held_out, count),
        "new": _nearest(new[held_out], new, held_out, count),
    }
    scores = carried @ new.T  # (h, n)
    own = scores[np.arange(len(held_out)), held_out]
    places = 1 + (scores > own[:, None]).sum(axis=1)  # (h,)
    cosines = (split(carried) * split(new[held_out])).sum(axis=-1)  # (h, 3)
    there = present[held_out]
    return Loss(
        titles=len(held_out),
        library=len(old),
        true=bootstrap(_overlap(lists["carried"], lists["new"])),
        kept=bootstrap(_overlap(lists["carried"], lists["old"])),
        unaligned=bootstrap(_overlap(lists["raw"], lists["new"])),
        agreement=bootstrap(_overlap(lists["old"], lists["new"])),
        chance=count / (len(old) - 1),
        own_first=bootstrap((places == 1).astype(np.float64)),
        own_rank=bootstrap(places.astype(np.float64), np.median),
        cosine={
            name: bootstrap(cosines[there[:, at], at])
            for at, name in enumerate(MODALITIES)
            if there[:, at].any()
        },
    )


def bootstrap(values: FloatArray, of: Callable[..., FloatArray] = np.mean) -> Figure:
    """A statistic of values [h], with the percentile interval of `RESAMPLES` resamples of them."""
    rng = np.random.default_rng(SEED)
    drawn = of(values[rng.integers(len(values), size=(RESAMPLES, len(values)))], axis=1)  # (RESAMPLES,)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Figure(float(of(values)), (float(low), float(high)))


def _nearest(queries: FloatArray, library: FloatArray, own: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """The `count` nearest titles of each query, [h, count] in no order, its own title left out."""
    scores = queries @ library.T  # (h, n)
    scores[np.arange(len(own)), own] = -np.inf
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]


def _overlap(a: NDArray[np.intp], b: NDArray[np.intp]) -> FloatArray:
    """Share of each list in the other, float64 [h]."""
    return np.asarray((a[:, :, None] == b[:, None, :]).any(axis=2).mean(axis=1))
