"""Shares of 10,000 random pairs sum to their scores, and each moves alone. Run with -s for figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from resonance.space import (
    MODALITIES,
    Blend,
    Descriptor,
    Query,
    Weights,
    explain,
    join,
    query_from_blocks,
    query_from_vector,
    score,
    unit,
)
from tests.space.strategies import make_descriptor

PAIRS = 10_000
TOLERANCE = 1e-6
#: Sigmas as small as a space may have them make the largest scores, hence the largest rounding.
SMALLEST_SIGMA = 0.01


class Case(NamedTuple):
    query: Query
    weights: Weights
    title: np.ndarray
    present: tuple[bool, ...]


def random_weights(chance: np.random.Generator) -> Weights:
    """From a thousandth to a thousand, one in four 0."""
    levels = np.exp(chance.uniform(np.log(1e-3), np.log(1e3), 3)) * (chance.random(3) > 0.25)
    return Weights(*(levels if levels.any() else [1.0, 1.0, 1.0]))


def random_presence(chance: np.random.Generator) -> tuple[bool, ...]:
    there = chance.random(3) > 0.4
    return tuple(map(bool, there)) if there.any() else (False, True, False)


def random_descriptor(chance: np.random.Generator) -> Descriptor:
    return make_descriptor(
        sigmas={a: {b: float(chance.uniform(SMALLEST_SIGMA, 0.5)) for b in MODALITIES} for a in MODALITIES}
    )


def random_cases(count: int, seed: int) -> Iterator[Case]:
    chance = np.random.default_rng(seed)
    for at in range(count):
        blocks = unit(chance.standard_normal((2, 3, 596)))
        blocks[1] = unit(blocks[1] + chance.uniform(0, 4) * blocks[0])  # from unlike to nearly the same
        present = random_presence(chance)
        there = np.array(present)
        blocks[1, ~there] = unit(blocks[1, there].mean(axis=0))
        if at % 100 == 0:  # to check one takes 5 ms
            descriptor = random_descriptor(chance)
        if at % 2:
            query = query_from_vector(join(blocks[0]).astype(np.float32), descriptor)
        else:
            given = random_presence(chance)
            query = query_from_blocks(
                {m: blocks[0, i] for i, m in enumerate(MODALITIES) if given[i]}, descriptor
            )
        yield Case(query, random_weights(chance), join(blocks[1]), present)


def test_shares_sum_to_the_score_in_all_of_10000_pairs() -> None:
    worst = {"float64": 0.0, "float32": 0.0}
    largest = 0.0
    for case in random_cases(PAIRS, seed=8):
        for stored_as in worst:
            title = case.title.astype(stored_as)
            told = explain(case.query, case.weights, title, case.present)
            total = float(score(case.query, case.weights, title))
            assert told.score == sum(share.value for share in told.shares)
            assert [share.inferred for share in told.shares] == [not there for there in case.present]
            worst[stored_as] = max(worst[stored_as], abs(told.score - total))
            largest = max(largest, abs(total))
    print(f"\n{PAIRS:,} pairs, scores up to {largest:,.0f}: shares sum to the score within {worst}")
    assert largest > 1_000  # so the tolerance is no matter of course
    assert max(worst.values()) <= TOLERANCE


def test_parts_of_a_history_sum_to_the_score_in_all_of_10000_pairs() -> None:
    chance = np.random.default_rng(9)
    worst, cases, histories = 0.0, 0, 200
    while cases < PAIRS:
        n = int(chance.integers(1, 12))
        descriptor = random_descriptor(chance)
        past = join(unit(chance.standard_normal((n, 3, 596)))).astype(np.float32)
        amounts = chance.uniform(-1, 1, n) * np.exp2(-chance.uniform(0, 10, n))
        blend, weights = (
            Blend.of([query_from_vector(v, descriptor) for v in past], amounts),
            random_weights(chance),
        )
        titles = join(unit(chance.standard_normal((PAIRS // histories, 3, 596)))).astype(np.float32)
        parts = blend.contributions(weights, titles)
        scores = score(blend.query(), weights, titles)
        worst = max(worst, float(np.abs(parts.sum(axis=(1, 2)) - scores).max()))
        cases += len(titles)
    print(f"\n{cases:,} pairs: parts of a history sum to the score within {worst:.1e}")
    assert worst <= TOLERANCE


@pytest.mark.parametrize("m", range(3))
def test_a_changed_block_moves_its_own_share_alone(m: int) -> None:
    """Scaled, and turned some way towards another direction."""
    chance = np.random.default_rng(10 + m)
    for case in random_cases(300, seed=20 + m):
        before = explain(case.query, case.weights, case.title, case.present)
        blocks = case.title.reshape(3, 596)
        for changed in (chance.uniform(-2, 2) * blocks[m], _turned(blocks[m], chance)):
            moved = blocks.copy()
            moved[m] = changed
            after = explain(case.query, case.weights, moved.reshape(1788), case.present)
            by = float((case.query.blocks[m] * getattr(case.weights, MODALITIES[m])) @ (changed - blocks[m]))
            size = max(1.0, abs(before.score), abs(after.score))
            for i in range(3):
                difference = after.shares[i].value - before.shares[i].value
                if i == m:
                    assert difference == pytest.approx(by, abs=1e-12 * size)
                else:
                    assert difference == 0
            totals = [float(score(case.query, case.weights, v)) for v in (case.title, moved.reshape(1788))]
            assert totals[1] - totals[0] == pytest.approx(by, abs=1e-11 * size)


def _turned(block: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    length = np.linalg.norm(block)
    return length * unit(block / length + chance.uniform(0.1, 3) * unit(chance.standard_normal(596)))


def test_a_changed_amount_moves_the_part_of_its_title_alone() -> None:
    """Those of others only by the normalisation, which a turned sign leaves as it is."""
    chance = np.random.default_rng(13)
    descriptor = make_descriptor()
    for _ in range(300):
        n = int(chance.integers(2, 7))
        queries = [query_from_vector(v, descriptor) for v in join(unit(chance.standard_normal((n, 3, 596))))]
        title, weights = join(unit(chance.standard_normal((3, 596)))), random_weights(chance)
        amounts = chance.uniform(0.1, 1, n) * chance.choice([-1, 1], n)
        i = int(chance.integers(n))
        before = Blend.of(queries, amounts)
        parts = before.contributions(weights, title)
        size = max(1.0, float(np.abs(parts).max()))

        turned = amounts.copy()
        turned[i] *= -1
        after = Blend.of(queries, turned)
        moved = after.contributions(weights, title) - parts
        np.testing.assert_array_equal(np.delete(moved, i, axis=0), 0)
        np.testing.assert_allclose(moved[i], -2 * parts[i], rtol=0, atol=1e-12 * size)
        scores = [float(score(blend.query(), weights, title)) for blend in (before, after)]
        assert scores[1] - scores[0] == pytest.approx(moved[i].sum(), abs=1e-11 * size)

        larger = amounts.copy()
        larger[i] *= 1.5
        after = Blend.of(queries, larger)
        # per unit of amount: the normalisation of all by sum |a| is taken out
        wholes = [np.abs(a).sum() for a in (amounts, larger)]
        moved = after.contributions(weights, title) * wholes[1] - parts * wholes[0]
        np.testing.assert_allclose(np.delete(moved, i, axis=0), 0, rtol=0, atol=1e-11 * size)
        np.testing.assert_allclose(moved[i], 0.5 * parts[i] * wholes[0], rtol=0, atol=1e-11 * size)
        by = float(score(after.query(), weights, title)) * wholes[1] - scores[0] * wholes[0]
        assert by == pytest.approx(moved[i].sum(), abs=1e-10 * size)
