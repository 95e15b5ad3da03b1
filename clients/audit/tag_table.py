"""Which title carries which tag, as columns of 0 and 1; and what of a vector other tags are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.errors import UsageError
from resonance.space.blocks import BoolArray

#: A tag counts where at least so many titles carry it, and as many do not.
LEAST_CARRIERS = 20
#: The most common so many tags count.
MOST_TAGS = 400
#: Directions of largest variance in which clusters and splits are looked for.
COMPONENTS = 64


@dataclass(frozen=True, slots=True, eq=False)
class TagTable:
    """Attributes:
    names: p tags, the most common first.
    carried: which title carries which, bool [n, p].
    left_out: tags that are too rare, or carried by nearly all, or beyond `MOST_TAGS`.
    rare, beyond: how many of those are too rare, and how many beyond `MOST_TAGS`; rare_share: of all that
        titles carry, what both are.
    """

    names: tuple[str, ...]
    carried: BoolArray
    left_out: int
    rare: int
    beyond: int
    rare_share: float

    @property
    def columns(self) -> NDArray[np.float64]:
        """`carried` as numbers."""
        return self.carried.astype(np.float64)


def tag_table(tags: Sequence[tuple[str, ...]], least: int = LEAST_CARRIERS) -> TagTable:
    """Of the tags of n titles, each tag once a title.

    Raises:
        UsageError: no tag is carried by `least` titles and lacked by as many.
    """
    counts = Counter(tag for own in tags for tag in own)
    fitting = [tag for tag, count in counts.items() if least <= count <= len(tags) - least]
    names = sorted(fitting, key=lambda tag: (-counts[tag], tag))[:MOST_TAGS]
    if not names:
        raise UsageError(
            f"{len(counts)} tags on {len(tags)} titles, none on at least {least} and lacking on as many; "
            "expected tags that several titles share (media_id of the file as in the store?)"
        )
    place = {name: at for at, name in enumerate(names)}
    carried = np.zeros((len(tags), len(names)), np.bool_)
    for row, own in enumerate(tags):
        carried[row, [place[tag] for tag in own if tag in place]] = True
    rare = [tag for tag, count in counts.items() if count < least and count <= len(tags) - least]
    beyond = [tag for tag in fitting if tag not in place]
    share = sum(counts[tag] for tag in (*rare, *beyond)) / counts.total()
    return TagTable(tuple(names), carried, len(counts) - len(names), len(rare), len(beyond), share)


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Titles along directions of largest variance of their present blocks.

    Attributes:
        scores: float64 [n, k]. variances: of all directions, the largest first, float64 [1788].
    """

    scores: NDArray[np.float64]
    variances: NDArray[np.float64]


def centred_blocks(blocks: NDArray[np.float32], present: BoolArray) -> NDArray[np.float32]:
    """Blocks [n, 3, 596] less the mean present block of their modality, 0 where inferred: [n, 1788]."""
    there = present[..., None]
    counts = np.maximum(present.sum(axis=0), 1)[:, None]  # (3, 1)
    means = np.where(there, blocks, 0).sum(axis=0, dtype=np.float64) / counts  # (3, 596)
    return np.where(there, blocks - means.astype(np.float32), np.float32(0)).reshape(len(blocks), -1)


def components(centred: NDArray[np.float32]) -> Components:
    """Principal components of centred blocks [n, 1788]."""
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    variances, directions = np.linalg.eigh(covariance)  # ascending
    chosen = directions[:, ::-1][:, :COMPONENTS].astype(np.float32)
    return Components((centred @ chosen).astype(np.float64), np.maximum(variances[::-1], 0))
