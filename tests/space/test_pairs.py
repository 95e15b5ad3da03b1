"""The pair most alike is that of the largest score, however long the titles are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space import (
    BlockError,
    Descriptor,
    WeightError,
    Weights,
    best_pair,
    join,
    query_from_vector,
    score,
)
from resonance.space import pairs as pairs_module
from tests.space.strategies import descriptors, make_descriptor, random_blocks, seeds, weight_triples


@given(descriptors(), weight_triples, st.integers(1, 7), st.integers(1, 9), seeds)
def test_it_is_the_best_of_all_scored_one_by_one(
    descriptor: Descriptor, triple: tuple[float, float, float], n: int, m: int, seed: int
) -> None:
    weights = Weights(*triple)
    queries, titles = join(random_blocks(seed, n)), join(random_blocks(seed + 1, m)).astype(np.float32)
    scores = np.array([score(query_from_vector(q, descriptor), weights, titles) for q in queries])
    pair = best_pair(queries, titles, weights, descriptor)
    rounding = 1e-12 * max(1.0, np.abs(scores).max())
    assert pair.score == pytest.approx(scores[pair.query, pair.title], abs=rounding)
    assert pair.score >= scores.max() - rounding


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = make_descriptor()
    queries, titles = join(random_blocks(1, 23)), join(random_blocks(2, 31))
    whole = best_pair(queries, titles, Weights(1, 2, 0.5), descriptor)
    for rows in (1, 4, 23, 30):
        monkeypatch.setattr(pairs_module, "ROWS_AT_ONCE", rows)
        assert best_pair(queries, titles, Weights(1, 2, 0.5), descriptor) == whole


def test_a_weight_of_zero_leaves_its_block_out() -> None:
    descriptor = make_descriptor()
    queries, titles = random_blocks(3, 8), random_blocks(4, 8)
    titles[5, 1] = queries[2, 1]  # the same sound
    pair = best_pair(join(queries), join(titles), Weights(0, 1, 0), descriptor)
    assert (pair.query, pair.title) == (2, 5)
    assert pair.score == pytest.approx(1 / 3**0.5)


def test_of_equal_pairs_it_is_the_first() -> None:
    rows = np.repeat(join(random_blocks(5))[None], 4, axis=0)
    pair = best_pair(rows, rows, Weights(), make_descriptor())
    assert (pair.query, pair.title) == (0, 0)


def test_long_titles_fit_in_memory() -> None:
    """A square of 6,000 segments (13 hours each) would be 288 MB of scores, its rows as float64 172 MB."""
    rows = np.repeat(join(random_blocks(6, 60)).astype(np.float32), 100, axis=0)  # (6000, 1788)
    tracemalloc.start()
    best_pair(rows, rows[:3000], Weights(), make_descriptor())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6, f"{peak / 1e6:.0f} MB"


def test_rows_that_are_none_are_refused() -> None:
    rows, descriptor = join(random_blocks(7, 2)), make_descriptor()
    for wrong in (rows[:0], rows[0], np.zeros((2, 5))):
        with pytest.raises(BlockError, match="1788"):
            best_pair(wrong, rows, Weights(), descriptor)
        with pytest.raises(BlockError, match="1788"):
            best_pair(rows, wrong, Weights(), descriptor)
    with pytest.raises(BlockError, match="direction"):
        best_pair(np.zeros((1, 1788)), rows, Weights(), descriptor)
    with pytest.raises(WeightError), np.errstate(all="ignore"):
        best_pair(
            rows,
            rows,
            Weights(1e308, 1e308, 1e308),
            make_descriptor(
                sigmas={
                    a: dict.fromkeys(("visual", "audio", "transcript"), 0.01)
                    for a in ("visual", "audio", "transcript")
                }
            ),
        )
