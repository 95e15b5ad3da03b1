"""Examples put together: what counts of each, whatever its weight."""

from __future__ import annotations

import numpy as np
import pytest

from resonance.clients.query import Example, blocks_of
from resonance.space import join, query_from_blocks, unit
from tests.space.strategies import make_descriptor

DESCRIPTOR = make_descriptor()
A, B = join(unit(np.random.default_rng(0).standard_normal((2, 3, 596)))).astype(np.float32)


def words(vector: np.ndarray, weight: float) -> Example:
    return Example("text", "words", vector, (True, True, True), weight)


@pytest.mark.parametrize("scale", [1e-300, 1e-46, 1.0, 1e38, 1e39, 1e300])
def test_weights_count_by_their_ratio(scale: float) -> None:
    """Of any size that a weight may have, also where float32 has none."""
    found = query_from_blocks(blocks_of([words(A, 3 * scale), words(B, scale)]), DESCRIPTOR)
    expected = query_from_blocks({"transcript": 3 * A[1192:] + B[1192:]}, DESCRIPTOR)
    np.testing.assert_allclose(found.blocks, expected.blocks, atol=1e-6)
    alone = query_from_blocks(blocks_of([words(A, scale)]), DESCRIPTOR)
    np.testing.assert_allclose(
        alone.blocks, query_from_blocks({"transcript": A[1192:]}, DESCRIPTOR).blocks, atol=1e-6
    )


def test_a_small_weight_counts_where_it_is_the_only_one_of_its_modality() -> None:
    picture = Example("image", "picture", B, (True, True, True), 1e-60)
    blocks = blocks_of([words(A, 1e60), picture])
    assert set(blocks) == {"visual", "transcript"}
    np.testing.assert_allclose(unit(blocks["visual"]), unit(B[:596]), atol=1e-6)
