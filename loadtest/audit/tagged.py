"""Simulated libraries: blocks are linear in latent factors plus noise, tags name factors and are made poorer.

The factors have as many values as those of the procedural world (`resonance.training.world.factors`):
setting 16, subject 32, tension and pace 5, genre 6, which says nothing of the vectors. Here they are
independent and uniform, so that what a tag explains is known: a factor with values v moves a block by w_v,
and the share of the variance that tags explain is

    sum over factors of c * Var(w) / (sum over factors of Var(w) + variance of the noise)

where c is 1 for right tags, 1 - r where a share r of them is dropped, (1 - r)^2 where r of them is replaced
by a random value, and Var(w) is that of the merged means where values are merged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.sampling import LibrarySample
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES
from resonance.training.world.factors import GENRES, LEVELS, SETTINGS, SUBJECTS

VALUES = {
    "setting": len(SETTINGS),
    "subject": len(SUBJECTS),
    "tension": LEVELS,
    "pace": LEVELS,
    "genre": len(GENRES),
}
#: How far a factor moves a block: the root of the sum of squares over its 596 numbers.
_STRENGTH = {"setting": 0.45, "subject": 0.45, "tension": 0.3, "pace": 0.3, "genre": 0.0}
_NOISE = 0.8  # the same of what is a title's own, of a modality that is there
_NOISE_DIRECTIONS = 40  # what is a title's own lies in so many directions
_ABSENT_SHARE = 0.2  # titles without words


@dataclass(frozen=True, slots=True)
class Poorer:
    """How tags were made poorer: of each, the share dropped, then the share replaced by a random value;
    `merge`: so many neighbouring values of a factor are one tag."""

    drop: float = 0.0
    randomise: float = 0.0
    merge: int = 1


#: Five levels of three ways.
WAYS: dict[str, tuple[Poorer, ...]] = {
    "drop": tuple(Poorer(drop=share) for share in (0.0, 0.2, 0.4, 0.6, 0.8)),
    "merge": tuple(Poorer(merge=values) for values in (1, 2, 4, 8, 16)),
    "randomise": tuple(Poorer(randomise=share) for share in (0.0, 0.2, 0.4, 0.6, 0.8)),
}


class FactorModel:
    """Means of the blocks by factor and value, drawn once; libraries are drawn from it."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (len(MODALITIES), BLOCK_WIDTH)
        self._means = {
            name: rng.standard_normal((values, *shape)) * _STRENGTH[name] / np.sqrt(BLOCK_WIDTH)
            for name, values in VALUES.items()
        }
        self._base = rng.standard_normal(shape) * 0.5 / np.sqrt(BLOCK_WIDTH)
        self._own = rng.standard_normal((len(MODALITIES), _NOISE_DIRECTIONS, BLOCK_WIDTH)) * (
            _NOISE / np.sqrt(BLOCK_WIDTH * _NOISE_DIRECTIONS)
        )

    def blocks(
        self, factors: dict[str, NDArray[np.intp]], rng: np.random.Generator, *, unit: bool
    ) -> NDArray[np.float32]:
        """Float32 [n, 3, 596]; `unit`: divided by their norms, as a store has them, and no longer linear."""
        n = len(factors["setting"])
        blocks = np.broadcast_to(self._base, (n, *self._base.shape)).astype(np.float32)
        for name, values in factors.items():
            blocks += self._means[name].astype(np.float32)[values]
        for at, own in enumerate(self._own):
            blocks[:, at] += rng.standard_normal((n, len(own)), np.float32) @ own.astype(np.float32)
        return blocks / np.linalg.norm(blocks, axis=-1, keepdims=True) if unit else blocks

    def truth(self, poorer: Poorer) -> float:
        """The share of the variance of present blocks that tags explain."""
        weights = np.array([1.0, 1.0, 1.0 - _ABSENT_SHARE])  # how often each modality is there
        kept = (1 - poorer.drop) * (1 - poorer.randomise) ** 2
        said, total = 0.0, float((weights * (self._own**2).sum(axis=(1, 2))).sum())
        for means in self._means.values():
            total += float((weights * means.var(axis=0).sum(axis=-1)).sum())
            groups = np.arange(len(means)) // poorer.merge
            merged = np.stack([means[groups == group].mean(axis=0) for group in groups])
            said += kept * float((weights * merged.var(axis=0).sum(axis=-1)).sum())
        return said / total


def draw_factors(titles: int, rng: np.random.Generator) -> dict[str, NDArray[np.intp]]:
    """Values of each factor, int [n]."""
    return {name: rng.integers(values, size=titles) for name, values in VALUES.items()}


def draw_tags(
    factors: dict[str, NDArray[np.intp]], poorer: Poorer, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    """Tags of each title, such as ``subject 7``."""
    n = len(factors["setting"])
    own: list[list[str]] = [[] for _ in range(n)]
    for name, values in factors.items():
        wrong, kept = rng.random(n) < poorer.randomise, rng.random(n) >= poorer.drop
        said = np.where(wrong, rng.integers(VALUES[name], size=n), values) // poorer.merge
        for title in np.flatnonzero(kept):
            own[title].append(f"{name} {said[title]}")
    return tuple(tuple(sorted(tags)) for tags in own)


def draw_sample(
    model: FactorModel, titles: int, poorer: Poorer, rng: np.random.Generator, *, unit: bool = False
) -> LibrarySample:
    """A library of which all is looked at."""
    sample, factors = draw_untagged(model, titles, rng, unit=unit)
    return replace(sample, tags=draw_tags(factors, poorer, rng))


def draw_untagged(
    model: FactorModel, titles: int, rng: np.random.Generator, *, unit: bool = False
) -> tuple[LibrarySample, dict[str, NDArray[np.intp]]]:
    """The same without tags, and its factors, to tag it in more than one way."""
    factors = draw_factors(titles, rng)
    present = np.ones((titles, len(MODALITIES)), np.bool_)
    present[:, -1] = rng.random(titles) >= _ABSENT_SHARE
    sample = LibrarySample(
        media_ids=tuple(str(title) for title in range(titles)),
        blocks=model.blocks(factors, rng, unit=unit),
        present=present,
        tags=((),) * titles,
        titles=titles,
        titles_with=present.sum(axis=0),
    )
    return sample, factors
