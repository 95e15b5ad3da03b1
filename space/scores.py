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

from resonance.space.blocks import FloatArray, check_vectors, unit
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH, Descriptor
from resonance.space.errors import BlockError, SpaceMismatchError, WeightError


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
        for name, weight in zip(MODALITIES, self.array(), strict=True):
            if not math.isfinite(weight) or weight < 0:
                raise WeightError(f"weight of {name} is {weight}; expected a finite number of at least 0")
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
        return cls(**{name: float(value) for name, value in weights.items()})

    @classmethod
    def parse(cls, text: str) -> Weights:
        """Weights written as ``visual=2,transcript=0.5``.

        Raises:
            WeightError: it is not written so.
        """
        weights: dict[str, float] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = item.partition("=")
            try:
                weights[name.strip()] = float(value)
            except ValueError:
                equals = ""
            if not equals:
                raise WeightError(f"weight '{item}'; expected NAME=NUMBER, such as visual=2")
        return cls.from_mapping(weights)


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: one block a title block, each already divided by its sigma.

    Make one with `query_from_blocks` or `query_from_vector`. blocks: float64 [3, 596].
    """

    blocks: FloatArray

    def weighted(self, weights: Weights) -> FloatArray:
        """q', float64 [1788]: what a dot-product store is asked with."""
        return np.asarray((self.blocks * weights.array()[:, None]).reshape(TITLE_WIDTH))


def query_from_blocks(given: Mapping[str, ArrayLike], descriptor: Descriptor) -> Query:
    """A query from unit blocks [596] by query modality.

    A block of the title whose own modality is given is compared with that; any other block is compared
    with all given ones: it gets the mean of each given block over its own sigma. So a query of one
    modality is copied into every block, each divided by that modality's sigma for the block.

    Raises:
        BlockError: no modality, an unknown one, a wrong width or a block without direction.
    """
    if not given:
        raise BlockError(f"a query without modality; expected at least one of {', '.join(MODALITIES)}")
    units: dict[str, FloatArray] = {}
    for name, block in given.items():
        array = np.asarray(block, dtype=np.float64)
        if name not in MODALITIES:
            raise BlockError(f"unknown modality {name}; known are {', '.join(MODALITIES)}")
        if array.shape != (BLOCK_WIDTH,):
            raise BlockError(f"query block {name} has shape {array.shape}; expected ({BLOCK_WIDTH},)")
        units[name] = unit(array)
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
    blocks = check_vectors(vector).reshape(len(MODALITIES), BLOCK_WIDTH)
    return query_from_blocks(dict(zip(MODALITIES, blocks, strict=True)), descriptor)


def score(query: Query, weights: Weights, titles: ArrayLike) -> FloatArray:
    """Scores of title vectors [..., 1788], float64 [...].

    Raises:
        BlockError: a wrong width, or numbers that are not finite.
    """
    return np.asarray(check_vectors(titles) @ query.weighted(weights))


def rank(query: Query, weights: Weights, titles: ArrayLike) -> NDArray[np.int64]:
    """Indices of titles [n, 1788], best first; equal scores keep their order. int64 [n]."""
    return np.argsort(-score(query, weights, titles), kind="stable")


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

    The score is the sum of the shares, by construction and exactly.

    Raises:
        BlockError: a wrong width or shape, or numbers that are not finite.
    """
    vector = check_vectors(title)
    there = np.asarray(present, dtype=np.bool_)
    if vector.ndim != 1 or there.shape != (len(MODALITIES),):
        raise BlockError(
            f"title has shape {vector.shape} and presence {there.shape}; "
            f"expected ({TITLE_WIDTH},) and ({len(MODALITIES)},)"
        )
    products = query.weighted(weights).reshape(len(MODALITIES), BLOCK_WIDTH) * vector.reshape(
        len(MODALITIES), BLOCK_WIDTH
    )
    values = [float(v) for v in products.sum(axis=1)]
    shares = tuple(
        Share(modality, value, not bool(here))
        for modality, value, here in zip(MODALITIES, values, there, strict=True)
    )
    return Explanation(sum(values), shares)


def require_same_space(expected: str, found: str, where: str) -> None:
    """Refuse to go on with vectors of another space.

    Raises:
        SpaceMismatchError: the fingerprints differ.
    """
    if expected != found:
        raise SpaceMismatchError(expected, found, where)
