"""Turning a slider ranks as embedding again with those weights would, whatever is present on either side."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from resonance.space import (
    MODALITIES,
    Query,
    Weights,
    join,
    query_from_blocks,
    query_from_vector,
    rank,
    score,
)
from resonance.space.blocks import unit
from tests.space.strategies import make_descriptor

PATTERNS = [p for p in product((True, False), repeat=3) if any(p)]
#: Sigmas of a real space (the family tiny): all different, and not symmetric to the eye.
DESCRIPTOR = make_descriptor(
    sigmas={
        "visual": {"visual": 0.3296568, "audio": 0.2239354, "transcript": 0.2821071},
        "audio": {"visual": 0.2239354, "audio": 0.2334987, "transcript": 0.1878335},
        "transcript": {"visual": 0.2821071, "audio": 0.1878335, "transcript": 0.2994762},
    }
)
POSITIONS = (0.0, 0.3, 1.0, 4.0)
SLIDERS = [Weights(*position) for position in product(POSITIONS, repeat=3) if any(position)]
TITLES = 24


def filled(blocks: np.ndarray, present: tuple[bool, ...]) -> np.ndarray:
    """Unit blocks [n, 3, 596] whose absent ones are the normalised mean of the present ones."""
    there = np.array(present)
    inferred = unit(blocks[:, there].mean(axis=1))
    return np.where(there[None, :, None], blocks, inferred[:, None])


def made(seed: int, present: tuple[bool, ...], count: int) -> np.ndarray:
    """Blocks of modalities that lie apart, absent ones inferred."""
    chance = np.random.default_rng(seed)
    gap = unit(np.random.default_rng(1).standard_normal((3, 596)))
    return filled(unit(unit(chance.standard_normal((count, 3, 596))) + 0.8 * gap), present)


def embedded_again(blocks: np.ndarray, weights: Weights) -> np.ndarray:
    """What would be stored, had the titles been embedded with the weights in them: float64 [n, 1788]."""
    factors = {m: getattr(weights, m) for m in MODALITIES}
    return np.concatenate([factors[m] * blocks[:, i] for i, m in enumerate(MODALITIES)], axis=1) / np.sqrt(3)


def queries(present: tuple[bool, ...]) -> list[Query]:
    """As an example with these modalities is asked, and as a title of the library with them is."""
    blocks = made(7, present, 1)[0]
    given = {m: blocks[i] for i, m in enumerate(MODALITIES) if present[i]}
    return [query_from_blocks(given, DESCRIPTOR), query_from_vector(join(blocks), DESCRIPTOR)]


@pytest.mark.parametrize("of_title", PATTERNS)
@pytest.mark.parametrize("of_query", PATTERNS)
def test_a_slider_ranks_as_embedding_again_does(
    of_query: tuple[bool, ...], of_title: tuple[bool, ...]
) -> None:
    blocks = made(3, of_title, TITLES)
    stored = join(blocks).astype(np.float32)  # once
    for query, weights in product(queries(of_query), SLIDERS):
        again = embedded_again(stored.reshape(TITLES, 3, 596).astype(np.float64) * np.sqrt(3), weights)
        expected = again @ query.blocks.reshape(-1)
        found = score(query, weights, stored)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        assert np.diff(np.sort(expected)).min() > 1e-9  # so that rounding decides no rank
        np.testing.assert_array_equal(rank(query, weights, stored), np.argsort(-expected, kind="stable"))


@pytest.mark.parametrize("of_query", PATTERNS)
def test_a_library_of_all_patterns_ranks_as_embedding_again_does(of_query: tuple[bool, ...]) -> None:
    blocks = np.concatenate([made(11 + i, p, 6) for i, p in enumerate(PATTERNS)])
    stored = join(blocks)
    orders = set()
    for query, weights in product(queries(of_query), SLIDERS):
        expected = embedded_again(blocks, weights) @ query.blocks.reshape(-1)
        found = rank(query, weights, stored)
        np.testing.assert_array_equal(found, np.argsort(-expected, kind="stable"))
        orders.add(tuple(found.tolist()))
    assert len(orders) > len(SLIDERS) / 2  # the sliders do something
