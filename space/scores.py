"""Scores with weights a viewer can turn, and the explanation that is the score's own arithmetic.

score = q'.t with q'_m = w_m q_m / sigma(query modality, block m). The weights are in the query alone, so
no title is embedded again, any dot-product store ranks exactly as this formula, and the score splits
exactly into one share a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resonance.space.blocks import FloatArray, check_presence, check_vectors, unit
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH, Descriptor
from resonance.space.errors import BlockError, SpaceMismatchError, WeightError

#: The largest number of a weighted query: its products with a unit vector sum to a finite one.
_LARGEST = float(np.finfo(np.float64).max) / TITLE_WIDTH


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each block counts: finite, not negative, not all zero.

    Raises:
        WeightError: otherwise.
    """

    visual: float = 1.0
    audio: float = 1.0
    transcript: float = 1.0

    def __post_init__(self) -> None:
        for name in MODALITIES:
            weight = getattr(self, name)
            number = isinstance(weight, int | float | np.integer | np.floating)
            try:
                value = float(weight) if number and not isinstance(weight, bool) else math.nan
            except OverflowError:
                value = math.inf
            if not 0 <= value < math.inf:
                raise WeightError(f"weight of {name} is {weight!r}; expected a finite number of at least 0")
            object.__setattr__(self, name, value)
        if not self.array().any():
            raise WeightError("all weights are 0; expected at least one above 0")

    def array(self) -> FloatArray:
        """Float64 [3] in block order."""
        return np.array([self.visual, self.audio, self.transcript], dtype=np.float64)

    @classmethod
    def from_mapping(cls, weights: Mapping[str, float]) -> Weights:
        """Weights by modality; what is not named counts 1.

        Raises:
            WeightError: an unknown name, or a value that is not a weight.
        """
        unknown = sorted(set(weights) - set(MODALITIES))
        if unknown:
            raise WeightError(f"unknown modality {', '.join(unknown)}; known are {', '.join(MODALITIES)}")
        return cls(**weights)

    @classmethod
    def parse(cls, text: str) -> Weights:
        """Weights written as ``visual=2,transcript=0.5``.

        Raises:
            WeightError: it is not written so.
        """
        weights: dict[str, float] = {}
        for item in text.split(","):
            name, _, value = (part.strip() for part in item.partition("="))
            if name in weights:
                raise WeightError(f"weight of {name} stands twice; expected it once")
            try:
                weights[name] = float(value)
            except ValueError as error:
                raise WeightError(
                    f"weight '{item.strip()}'; expected NAME=NUMBER, such as visual=2"
                ) from error
        return cls.from_mapping(weights)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is searched for: one block a title block, each already divided by its sigma.

    Make one with `query_from_blocks` or `query_from_vector`. blocks: float64 [3, 596].
    """

    blocks: FloatArray

    def __post_init__(self) -> None:
        shape = (len(MODALITIES), BLOCK_WIDTH)
        if self.blocks.shape != shape or not np.isfinite(self.blocks).all():
            raise BlockError(f"query blocks of shape {self.blocks.shape}; expected {shape}, all finite")

    def weighted(self, weights: Weights) -> FloatArray:
        """q', float64 [1788]: what a dot-product store is asked with.

        Raises:
            WeightError: weights so large that a score may not be finite.
        """
        return weighted_blocks(self.blocks, weights).reshape(TITLE_WIDTH)


def weighted_blocks(blocks: FloatArray, weights: Weights) -> FloatArray:
    """Blocks of queries, float64 [..., 3, 596], each times its weight.

    Raises:
        WeightError: weights so large that a score may not be finite.
    """
    with np.errstate(over="ignore"):
        weighted = blocks * weights.array()[:, None]
    if not (np.abs(weighted) <= _LARGEST).all():  # NaN too
        raise WeightError(f"{weights} overflow the query; expected smaller ones")
    return np.asarray(weighted)


def query_from_blocks(given: Mapping[str, ArrayLike], descriptor: Descriptor) -> Query:
    """A query from blocks [596] by query modality; each is made unit.

    A block of the title whose own modality is given is compared with that. Any other block is compared
    with all that is given: it gets the mean of the given blocks, each over its own sigma for that block,
    so that its share is the mean of the shares which the queries of one modality would have there, all
    in units of their spread. A query of one modality is therefore copied into every block, divided by
    that modality's sigma for the block.

    Raises:
        BlockError: no modality, an unknown one, a wrong width or a block without direction.
    """
    if not given:
        raise BlockError(f"a query without modality; expected at least one of {', '.join(MODALITIES)}")
    units: dict[str, FloatArray] = {}
    for name, block in given.items():
        if name not in MODALITIES:
            raise BlockError(f"unknown modality {name}; known are {', '.join(MODALITIES)}")
        if np.shape(block) != (BLOCK_WIDTH,):
            raise BlockError(f"query block {name} has shape {np.shape(block)}; expected ({BLOCK_WIDTH},)")
        units[name] = unit(block)
    rows = []
    for block_name in MODALITIES:
        sources = [block_name] if block_name in units else list(units)
        scaled = [units[source] / descriptor.sigmas[source][block_name] for source in sources]
        rows.append(np.mean(scaled, axis=0))
    return Query(np.stack(rows))


def query_from_vector(vector: ArrayLike, descriptor: Descriptor) -> Query:
    """A query "like this title" [1788]: its blocks against the same blocks.

    Raises:
        BlockError: a wrong width, or numbers that are not finite.
    """
    checked = check_vectors(vector)
    if checked.ndim != 1:
        raise BlockError(f"query vector has shape {checked.shape}; expected ({TITLE_WIDTH},)")
    blocks = checked.reshape(len(MODALITIES), BLOCK_WIDTH)
    return query_from_blocks(dict(zip(MODALITIES, blocks, strict=True)), descriptor)


def own_sigmas(descriptor: Descriptor) -> FloatArray:
    """What the blocks of a query "like this title" are divided by, float64 [3]: sigma(m, m)."""
    return np.array([descriptor.sigmas[name][name] for name in MODALITIES], np.float64)


def score(query: Query, weights: Weights, titles: ArrayLike) -> FloatArray:
    """Scores of title vectors [..., 1788], float64 [...]; each depends on its own title alone, to the bit.

    Raises:
        BlockError: a wrong width, or numbers that are not finite.
    """
    # not @: there BLAS adds the last rows up in another order, and equal titles differ by a bit
    return np.asarray(np.einsum("...d,d->...", check_vectors(titles), query.weighted(weights)))


def rank(query: Query, weights: Weights, titles: ArrayLike) -> NDArray[np.intp]:
    """Indices [n] of titles [n, 1788], best first; equal scores keep their order.

    Raises:
        BlockError: another shape, or numbers that are not finite.
    """
    scores = score(query, weights, titles)
    if scores.ndim != 1:
        raise BlockError(f"titles have shape {np.shape(titles)}; expected (n, {TITLE_WIDTH})")
    return np.argsort(-scores, kind="stable")


@dataclass(frozen=True, slots=True)
class Share:
    """One block's part of a score. `inferred`: the title lacks the modality, its block was inferred."""

    modality: str
    value: float
    inferred: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score and the shares it is the sum of, in block order."""

    score: float
    shares: tuple[Share, ...]


def explain(query: Query, weights: Weights, title: ArrayLike, present: ArrayLike) -> Explanation:
    """Split the score of one title [1788] into a share a block; present: bool [3].

    A share is q'_m . t_m over the stored vector, its 1/sqrt(3) included. The score is the sum of the
    shares, by construction and exactly; `score` adds the same products in another order and agrees to
    the rounding of float64.

    Raises:
        BlockError: a wrong width or shape, numbers that are not finite, or nothing present.
    """
    vector, there = check_vectors(title), check_presence(present)
    if vector.ndim != 1 or there.ndim != 1:
        raise BlockError(
            f"title has shape {vector.shape} and presence {there.shape}; "
            f"expected ({TITLE_WIDTH},) and ({len(MODALITIES)},)"
        )
    shape = (len(MODALITIES), BLOCK_WIDTH)
    products = query.weighted(weights).reshape(shape) * vector.reshape(shape)
    shares = tuple(
        Share(modality, float(value), not bool(here))
        for modality, value, here in zip(MODALITIES, products.sum(axis=1), there, strict=True)
    )
    return Explanation(sum(share.value for share in shares), shares)


def require_same_space(expected: str, found: str, where: str) -> None:
    """Refuse to go on with vectors of another space.

    Raises:
        SpaceMismatchError: the fingerprints differ.
    """
    if expected != found:
        raise SpaceMismatchError(expected, found, where)
