"""A taste is a query like any other, and its scores split exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space import (
    BLOCK_WIDTH,
    MODALITIES,
    Blend,
    BlockError,
    Descriptor,
    Query,
    WeightError,
    Weights,
    explain,
    join,
    query_from_vector,
    score,
)
from tests.space.strategies import (
    descriptors,
    make_descriptor,
    presences,
    random_blocks,
    seeds,
    weight_triples,
)

amounts_of = st.lists(
    st.floats(-3, 3).filter(lambda a: a == 0 or abs(a) > 1e-3), min_size=1, max_size=6
).filter(any)


def blend_of(seed: int, amounts: list[float], descriptor: Descriptor) -> Blend:
    vectors = join(random_blocks(seed, len(amounts)))
    return Blend.of([query_from_vector(v, descriptor) for v in vectors], amounts)


@given(descriptors(), amounts_of, weight_triples, presences, seeds)
def test_parts_sum_to_the_score_over_titles_and_over_blocks(
    descriptor: Descriptor,
    amounts: list[float],
    triple: tuple[float, float, float],
    present: tuple[bool, ...],
    seed: int,
) -> None:
    blend, weights = blend_of(seed, amounts, descriptor), Weights(*triple)
    titles = join(random_blocks(seed + 1, 2, 2))
    parts = blend.contributions(weights, titles)
    assert parts.shape == (2, 2, len(amounts), 3)
    largest = max(1.0, float(np.abs(blend.blocks).max() * max(triple)))
    np.testing.assert_allclose(
        parts.sum(axis=(-1, -2)), score(blend.query(), weights, titles), rtol=0, atol=1e-12 * largest * 1788
    )
    told = explain(blend.query(), weights, titles[1, 0], [*present])
    for m, share in enumerate(told.shares):
        assert parts[1, 0, :, m].sum() == pytest.approx(share.value, abs=1e-12 * largest * 1788)
        assert share.inferred == (not present[m])


def test_a_part_is_its_formula() -> None:
    descriptor = make_descriptor()
    vectors, title = join(random_blocks(3, 2)), random_blocks(4)
    blend = Blend.of([query_from_vector(v, descriptor) for v in vectors], [3.0, -1.0])
    parts = blend.contributions(Weights(2, 0, 0.5), join(title))
    for i, share in enumerate((0.75, -0.25)):
        for m, (name, weight) in enumerate(zip(MODALITIES, (2, 0, 0.5), strict=True)):
            cosine = sum(
                float(a) * float(b) for a, b in zip(random_blocks(3, 2)[i, m], title[m], strict=True)
            )
            expected = share * weight * cosine / descriptor.sigmas[name][name] / 3**0.5
            assert parts[i, m] == pytest.approx(expected, abs=1e-12)


@given(seeds, st.floats(1e-300, 1e300))
def test_only_the_proportions_of_the_amounts_matter(seed: int, factor: float) -> None:
    descriptor = make_descriptor()
    blends = [blend_of(seed, [f * a for a in (2.0, -1.0, 0.5)], descriptor) for f in (1.0, factor)]
    np.testing.assert_allclose(blends[1].query().blocks, blends[0].query().blocks, rtol=1e-9, atol=1e-12)
    assert np.abs(blends[0].shares).sum() == pytest.approx(1)


def test_one_title_is_the_query_like_it_and_against_it_the_opposite() -> None:
    descriptor = make_descriptor()
    query = query_from_vector(join(random_blocks(5)), descriptor)
    np.testing.assert_array_equal(Blend.of([query], [0.3]).query().blocks, query.blocks)
    np.testing.assert_array_equal(Blend.of([query], [-7.0]).query().blocks, -query.blocks)


@pytest.mark.parametrize("amounts", [[], [0.0], [1.0, 2.0], [np.nan], [np.inf], [[1.0]]])
def test_amounts_that_make_no_taste_are_refused(amounts: list[float]) -> None:
    queries = [query_from_vector(join(random_blocks(5)), make_descriptor())]
    with pytest.raises(WeightError, match="expected"):
        Blend.of(queries, amounts)
    with pytest.raises(WeightError):
        Blend.of([], [])


def test_other_titles_and_weights_are_refused() -> None:
    blend = Blend.of([Query(np.ones((3, BLOCK_WIDTH)))], [1.0])
    with pytest.raises(BlockError, match="1788"):
        blend.contributions(Weights(), np.ones(5))
    with pytest.raises(WeightError, match="smaller"):
        Blend.of([Query(np.full((3, BLOCK_WIDTH), 1e10))], [1.0]).contributions(
            Weights(1e300), join(random_blocks(5))
        )
