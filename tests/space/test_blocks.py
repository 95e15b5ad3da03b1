"""Vectors are three unit blocks side by side over sqrt(3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space import (
    BLOCK_WIDTH,
    MODALITIES,
    TITLE_WIDTH,
    BlockError,
    check_presence,
    join,
    presence,
    presence_names,
    split,
    unit,
)
from tests.space.strategies import presences, random_blocks, seeds

shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@given(seeds, shapes)
def test_split_is_the_inverse_of_join_and_titles_are_unit(seed: int, shape: tuple[int, ...]) -> None:
    blocks = random_blocks(seed, *shape)
    titles = join(blocks)
    assert titles.shape == (*shape, TITLE_WIDTH)
    np.testing.assert_allclose(np.linalg.norm(titles, axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(split(titles), blocks, atol=1e-12)


def test_blocks_lie_in_the_order_of_the_modalities() -> None:
    blocks = np.zeros((3, BLOCK_WIDTH))
    blocks[0, 0] = blocks[1, 1] = blocks[2, 2] = 1.0
    (places,) = np.nonzero(join(blocks))
    assert places.tolist() == [0, BLOCK_WIDTH + 1, 2 * BLOCK_WIDTH + 2]


@given(seeds)
def test_what_was_stored_as_float32_splits(seed: int) -> None:
    blocks = random_blocks(seed, 2)
    np.testing.assert_allclose(split(join(blocks).astype(np.float32)), blocks, atol=1e-6)


@pytest.mark.parametrize(
    "blocks",
    [
        np.ones((3, BLOCK_WIDTH)),
        np.zeros((3, BLOCK_WIDTH)),
        random_blocks(0)[:, :-1],
        random_blocks(0)[:2],
        random_blocks(0).reshape(-1),
        np.full((3, BLOCK_WIDTH), np.nan),
        np.eye(3, BLOCK_WIDTH, dtype=np.int64),
        np.eye(3, BLOCK_WIDTH, dtype=np.complex128),
        [["1.0"] * BLOCK_WIDTH] * 3,
        [[1.0], [1.0, 2.0]],
        1.0,
    ],
)
def test_join_refuses_what_are_not_unit_blocks(blocks: object) -> None:
    with pytest.raises(BlockError, match=r"expected|not an array"):
        join(blocks)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [0, BLOCK_WIDTH, TITLE_WIDTH - 1, TITLE_WIDTH + 1])
def test_split_refuses_other_widths(width: int) -> None:
    with pytest.raises(BlockError, match=str(TITLE_WIDTH)):
        split(np.ones(width))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0])
def test_split_refuses_numbers_that_are_not_finite_and_blocks_that_are_not_unit(bad: float) -> None:
    title = join(random_blocks(1))
    title[700] = bad
    with pytest.raises(BlockError):
        split(title)


@given(seeds, st.floats(-300, 300))
def test_unit_keeps_directions_of_any_size(seed: int, exponent: float) -> None:
    x = np.random.default_rng(seed).standard_normal((4, 7))
    np.testing.assert_allclose(unit(x * 10.0**exponent), unit(x), atol=1e-12)


@pytest.mark.parametrize(
    "x", [np.zeros(4), [[1.0, 0.0], [0.0, 0.0]], [np.nan, 1.0], [np.inf, 1.0], [1, 2], 3.0]
)
def test_unit_refuses_what_has_no_direction(x: object) -> None:
    with pytest.raises(BlockError):
        unit(x)  # type: ignore[arg-type]


@given(presences)
def test_presence_goes_to_names_and_back(mask: tuple[bool, bool, bool]) -> None:
    by_name = presence_names(mask)
    assert list(by_name) == list(MODALITIES)
    assert presence(by_name).tolist() == list(mask)
    assert presence([m for m, there in by_name.items() if there]).tolist() == list(mask)


def test_presence_refuses_unknown_names_and_nothing_at_all() -> None:
    with pytest.raises(BlockError, match="smell"):
        presence(["visual", "smell"])
    with pytest.raises(BlockError, match="smell"):
        presence({"visual": True, "smell": False})
    with pytest.raises(BlockError, match="visual='no'"):
        presence({"visual": "no"})  # type: ignore[dict-item]
    for nothing in ([], {}, {"visual": False}):
        with pytest.raises(BlockError, match="at least one"):
            presence(nothing)


@pytest.mark.parametrize(
    "mask", [[1, 0, 1], [True, True], [[True, False, True], [False] * 3], ["a", "b", "c"]]
)
def test_a_mask_is_bools_in_block_order_with_one_there(mask: object) -> None:
    with pytest.raises(BlockError):
        check_presence(mask)  # type: ignore[arg-type]
