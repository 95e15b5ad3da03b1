"""Scores, weights and the explanation that is the score's own arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance.space import (
    MODALITIES,
    BlockError,
    Descriptor,
    SpaceMismatchError,
    WeightError,
    Weights,
    explain,
    join,
    presence,
    presence_names,
    query_from_blocks,
    query_from_vector,
    rank,
    require_same_space,
    score,
    split,
)
from tests.space.conftest import make_descriptor

SIGMAS = {
    "visual": {"visual": 0.20, "audio": 0.11, "transcript": 0.13},
    "audio": {"visual": 0.12, "audio": 0.25, "transcript": 0.10},
    "transcript": {"visual": 0.14, "audio": 0.09, "transcript": 0.30},
}
SPACE: Descriptor = make_descriptor(sigmas=SIGMAS)

seeds = st.integers(0, 2**32 - 1)
weight = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
weightings = st.tuples(weight, weight, weight).filter(any).map(lambda w: Weights(*w))
modality_sets = st.sets(st.sampled_from(MODALITIES), min_size=1)


def blocks(seed: int, *shape: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((*shape, 596))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def query(seed: int, names: set[str]) -> dict[str, np.ndarray]:
    return dict(zip(sorted(names), blocks(seed, len(names)), strict=True))


@given(seeds)
def test_split_undoes_join_and_titles_are_unit(seed: int) -> None:
    given_blocks = blocks(seed, 4, 3)
    titles = join(given_blocks)
    assert titles.shape == (4, 1788)
    np.testing.assert_allclose(np.linalg.norm(titles, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(split(titles), given_blocks, atol=1e-12)


@given(seeds, weightings, modality_sets, modality_sets)
def test_shares_sum_to_the_score(seed: int, weights: Weights, asked: set[str], present: set[str]) -> None:
    title = join(blocks(seed, 3)).astype(np.float32)
    q = query_from_blocks(query(seed + 1, asked), SPACE)
    explanation = explain(q, weights, title, presence(present))
    assert explanation.score == sum(s.value for s in explanation.shares)
    assert explanation.score == pytest.approx(float(score(q, weights, title)), rel=1e-9, abs=1e-12)
    assert [s.modality for s in explanation.shares] == list(MODALITIES)
    assert [s.inferred for s in explanation.shares] == [m not in present for m in MODALITIES]
    for share, w in zip(explanation.shares, weights.array(), strict=True):
        if w == 0:
            assert share.value == 0


@settings(deadline=None)
@given(seeds, weightings, modality_sets)
def test_weighting_the_query_alone_ranks_as_the_formula(seed: int, weights: Weights, asked: set[str]) -> None:
    # some titles lack a modality: their block is inferred, the mean of the others
    title_blocks = blocks(seed, 12, 3)
    title_blocks[::3, 2] = title_blocks[::3, 0] + title_blocks[::3, 1]
    title_blocks /= np.linalg.norm(title_blocks, axis=-1, keepdims=True)
    given_query = query(seed + 1, asked)
    q = query_from_blocks(given_query, SPACE)

    def by_formula(title: np.ndarray) -> float:
        total = 0.0
        for m, block_name in enumerate(MODALITIES):
            sources = [block_name] if block_name in asked else sorted(asked)
            for s in sources:
                cosine = float(given_query[s] @ title[m])
                total += weights.array()[m] * cosine / SIGMAS[s][block_name] / len(sources)
        return total / math.sqrt(3)

    expected = np.array([by_formula(t) for t in title_blocks])
    stored = join(title_blocks)
    np.testing.assert_allclose(score(q, weights, stored), expected, rtol=1e-9, atol=1e-9)
    order = rank(q, weights, stored)
    assert (np.diff(expected[order]) <= 1e-9 * np.abs(expected).max()).all()


@given(seeds)
def test_a_query_of_one_modality_is_copied_into_every_block(seed: int) -> None:
    block = blocks(seed, 1)[0]
    q = query_from_blocks({"audio": block}, SPACE)
    for row, name in zip(q.blocks, MODALITIES, strict=True):
        np.testing.assert_allclose(row, block / SIGMAS["audio"][name])


def test_a_title_is_nearest_to_itself() -> None:
    titles = join(blocks(3, 20, 3))
    assert rank(query_from_vector(titles[7], SPACE), Weights(), titles)[0] == 7


def test_a_share_moves_the_score_by_itself() -> None:
    title = join(blocks(1, 3))
    q = query_from_blocks(query(2, {"visual", "transcript"}), SPACE)
    before = explain(q, Weights(), title, [True] * 3)
    for m in range(3):
        changed = title.copy()
        changed[m * 596 : (m + 1) * 596] = 0
        after = float(score(q, Weights(), changed))
        assert before.score - after == pytest.approx(before.shares[m].value, abs=1e-9)


@pytest.mark.parametrize(
    "values", [(0, 0, 0), (-1, 1, 1), (math.nan, 1, 1), (math.inf, 1, 1), (1, 1, -0.001)]
)
def test_weights_that_are_none_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(WeightError):
        Weights(*values)


def test_weights_are_read_from_text_and_mappings() -> None:
    assert Weights.parse("visual=2, transcript=0.5") == Weights(2, 1, 0.5)
    assert Weights.from_mapping({"audio": 3}) == Weights(1, 3, 1)
    for text in ("sound=1", "visual", "visual=loud", "visual=0,audio=0,transcript=0", "visual=nan"):
        with pytest.raises(WeightError):
            Weights.parse(text)


@pytest.mark.parametrize("width", [595, 597, 1787, 0])
def test_wrong_widths_are_refused(width: int) -> None:
    with pytest.raises(BlockError):
        query_from_blocks({"visual": np.ones(width)}, SPACE)
    with pytest.raises(BlockError):
        score(query_from_blocks(query(0, {"visual"}), SPACE), Weights(), np.ones(width))
    with pytest.raises(BlockError):
        split(np.ones(width))


def test_values_without_meaning_are_refused() -> None:
    title = join(blocks(1, 3))
    q = query_from_blocks(query(0, {"visual"}), SPACE)
    title[5] = np.nan
    with pytest.raises(BlockError, match="NaN"):
        score(q, Weights(), title)
    with pytest.raises(BlockError, match="NaN"):
        join(np.full((3, 596), np.nan))
    with pytest.raises(BlockError, match="norm"):
        join(np.ones((3, 596)))
    with pytest.raises(BlockError):
        query_from_blocks({"visual": np.zeros(596)}, SPACE)
    with pytest.raises(BlockError, match="smell"):
        query_from_blocks({"smell": np.ones(596)}, SPACE)
    with pytest.raises(BlockError):
        query_from_blocks({}, SPACE)
    with pytest.raises(BlockError):
        join(["a"])


def test_presence() -> None:
    assert presence_names(presence({"audio"})) == {"visual": False, "audio": True, "transcript": False}
    for wrong in ({"smell"}, set()):
        with pytest.raises(BlockError):
            presence(wrong)


def test_two_spaces_are_told_apart_by_name() -> None:
    require_same_space("a" * 64, "a" * 64, "store")
    with pytest.raises(SpaceMismatchError, match=r"store.*bbbbbbbbbbbb.*aaaaaaaaaaaa"):
        require_same_space("a" * 64, "b" * 64, "store")
