"""What would raise the score most, estimated from what is left unexplained; nothing is fitted again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resonance.clients.audit.explained import Explained
from resonance.clients.audit.tag_table import TagTable
from resonance.space.blocks import BoolArray, FloatArray

#: A tag is split where each half could count as a tag.
_LEAST_TO_SPLIT = 2 * 20


@dataclass(frozen=True, slots=True)
class Gain:
    """What to do, on how many titles, and by how much the score would rise."""

    what: str
    titles: int
    gain: float


def group_gains(whole: Explained, groups: dict[str, BoolArray]) -> list[Gain]:
    """For each group [n] bool: the score of the other titles, less that of all.

    So much would be won if the group's tags said as much of it as the others' say of them.
    """
    gains = []
    for name, titles in groups.items():
        if titles.any() and not titles.all():
            gain = whole.only(~titles).share - whole.share
            gains.append(Gain(name, int(titles.sum()), gain))
    return sorted(gains, key=lambda gain: -gain.gain)


def split_gains(
    residuals: FloatArray, table: TagTable, whole: Explained, rng: np.random.Generator
) -> list[Gain]:
    """For each tag: what two tags in its place would explain more, were they split along the residuals.

    residuals: float64 [n, k], what tags leave of the principal components. The direction is that of largest
    variance in one half of a tag's titles; the other half is split by it at its middle, and the squared
    distance of the two means counts. An upper estimate: the split is read from the vectors themselves.
    """
    total = float(whole.total.sum())
    gains = []
    for at, tag in enumerate(table.names):
        mine = residuals[table.carried[:, at]]
        if len(mine) < _LEAST_TO_SPLIT or total <= 0:
            continue
        half = rng.permutation(len(mine)) < len(mine) // 2
        won = _split(mine[half], mine[~half]) + _split(mine[~half], mine[half])
        gains.append(Gain(tag, len(mine), won / total))
    return sorted(gains, key=lambda gain: -gain.gain)


def _split(one: FloatArray, other: FloatArray) -> float:
    """The sum of squares between the two parts of `other`, split along the main direction of `one`."""
    away = one - one.mean(axis=0)
    direction = np.linalg.eigh(away.T @ away)[1][:, -1]
    along = other @ direction
    high = along > np.median(along)
    if not high.any() or high.all():
        return 0.0
    apart = other[high].mean(axis=0) - other[~high].mean(axis=0)
    share = float(high.mean())
    return len(other) * share * (1 - share) * float(apart @ apart)
