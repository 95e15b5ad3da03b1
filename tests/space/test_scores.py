"""The score is q'.t, weights are in the query alone, and shares are the score's own arithmetic."""

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
    Descriptor,
    Query,
    SpaceMismatchError,
    WeightError,
    Weights,
    explain,
    join,
    query_from_blocks,
    query_from_vector,
    rank,
    require_same_space,
    score,
)
from tests.space.strategies import (
    descriptors,
    make_descriptor,
    presences,
    query_modalities,
    random_blocks,
    seeds,
    weight_triples,
)

Triple = tuple[float, float, float]


def by_the_formula(
    given_blocks: dict[str, np.ndarray], weights: Triple, sigmas: object, title_blocks: np.ndarray
) -> float:
    """The contract written out with plain loops: sum over blocks of w_m q_m.t_m / sigma."""
    total = 0.0
    for m, block in enumerate(MODALITIES):
        sources = [block] if block in given_blocks else sorted(given_blocks)
        for source in sources:
            pairs = zip(given_blocks[source], title_blocks[m], strict=True)
            cosine = sum(float(a) * float(b) for a, b in pairs)
            total += weights[m] * cosine / sigmas[source][block] / len(sources)  # type: ignore[index]
    return total / 3**0.5


@given(descriptors(), query_modalities, weight_triples, presences, seeds)
def test_shares_sum_to_the_score_and_say_which_are_inferred(
    descriptor: Descriptor, modalities: set[str], weights: Triple, present: tuple[bool, ...], seed: int
) -> None:
    blocks = random_blocks(seed, 2)
    query = query_from_blocks(
        {m: blocks[0, i] for i, m in enumerate(MODALITIES) if m in modalities}, descriptor
    )
    title = join(blocks[1])
    told = explain(query, Weights(*weights), title, present)
    assert told.score == sum(share.value for share in told.shares)
    largest = np.abs(query.weighted(Weights(*weights))).max()
    assert told.score == pytest.approx(
        float(score(query, Weights(*weights), title)), abs=1e-12 * max(1, largest)
    )
    assert [share.modality for share in told.shares] == list(MODALITIES)
    assert [share.inferred for share in told.shares] == [not there for there in present]
    for share, weight in zip(told.shares, weights, strict=True):
        assert weight or share.value == 0


@given(descriptors(), query_modalities, weight_triples, seeds)
def test_weighting_the_query_alone_ranks_as_the_formula_does(
    descriptor: Descriptor, modalities: set[str], weights: Triple, seed: int
) -> None:
    blocks = random_blocks(seed, 6)
    blocks[2, 1] = blocks[2, 0]  # inferred blocks stand at their source: what is present must not matter
    blocks[3, 1:] = blocks[3, 0]
    given_blocks = {m: blocks[5, i] for i, m in enumerate(MODALITIES) if m in modalities}
    titles = blocks[:5]
    query = query_from_blocks(given_blocks, descriptor)
    expected = np.array([by_the_formula(given_blocks, weights, descriptor.sigmas, t) for t in titles])
    stored = join(titles)  # embedded once, whatever the weights
    found = score(query, Weights(*weights), stored)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * max(weights) * 100)
    order = rank(query, Weights(*weights), stored)
    assert (np.diff(expected[order]) <= 1e-9 * max(weights) * 100).all()
    weighted = query.weighted(Weights(*weights))
    # any dot-product store, however it adds up: as near as rounding lets two orders of adding be
    rounding = 8 * np.finfo(np.float64).eps * (np.abs(stored) @ np.abs(weighted))
    assert (np.abs(found - stored @ weighted) <= rounding).all()
    alone = [score(query, Weights(*weights), title) for title in stored]
    np.testing.assert_array_equal(found, alone)  # to the bit, whatever stands beside it


@given(seeds, query_modalities)
def test_a_lone_modality_is_copied_into_every_block(seed: int, modalities: set[str]) -> None:
    descriptor, source = make_descriptor(), min(modalities)
    block = random_blocks(seed)[0]
    query = query_from_blocks({source: 5 * block}, descriptor)  # its length does not matter
    for m, name in enumerate(MODALITIES):
        np.testing.assert_allclose(query.blocks[m], block / descriptor.sigmas[source][name], atol=1e-12)


@given(seeds)
def test_a_title_is_nearest_to_itself(seed: int) -> None:
    descriptor = make_descriptor(sigmas={q: dict.fromkeys(MODALITIES, 1.0) for q in MODALITIES})
    titles = join(random_blocks(seed, 4))
    query = query_from_vector(titles[2], descriptor)
    assert rank(query, Weights(), titles)[0] == 2
    assert float(score(query, Weights(), titles[2])) == pytest.approx(3**0.5)


@pytest.mark.parametrize("count", [5, 8, 13, 257])
def test_equal_scores_keep_their_order(count: int) -> None:
    titles = np.repeat(join(random_blocks(3))[None], count, axis=0)
    query = query_from_vector(titles[0], make_descriptor())
    assert rank(query, Weights(), titles).tolist() == list(range(count))
    assert set(score(query, Weights(), titles)) == {float(score(query, Weights(), titles[0]))}


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ((0.0, 0.0, 0.0), "all weights are 0"),
        ((-1.0, 1.0, 1.0), "visual"),
        ((1.0, float("nan"), 1.0), "audio"),
        ((1.0, 1.0, float("inf")), "transcript"),
        (("1", 1.0, 1.0), "visual"),
        ((None, 1.0, 1.0), "visual"),
        ((True, 1.0, 1.0), "visual"),
        ((10**400, 1.0, 1.0), "visual"),
        ((1.0, np.complex64(1), 1.0), "audio"),
    ],
)
def test_weights_that_are_none_are_refused(weights: tuple[float, float, float], named: str) -> None:
    with pytest.raises(WeightError, match=named):
        Weights(*weights)


def test_weights_are_read_from_text_and_mappings() -> None:
    assert Weights.parse("visual=2, transcript=0.5") == Weights(2.0, 1.0, 0.5)
    assert Weights.from_mapping({"audio": 0}) == Weights(1.0, 0.0, 1.0)
    assert Weights.from_mapping({}) == Weights()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "visual",
        "visual=",
        "visual=two",
        "smell=1",
        "visual=nan",
        "visual=-1",
        "audio=1,audio=2",
        "=1",
        ",",
    ],
)
def test_text_that_holds_no_weights_is_refused(text: str) -> None:
    with pytest.raises(WeightError):
        Weights.parse(text)


def test_weights_that_overflow_the_query_are_refused() -> None:
    query = query_from_vector(join(random_blocks(4)), make_descriptor())
    sharp = Query(query.blocks * 1e10)
    with pytest.raises(WeightError, match="smaller"):
        score(sharp, Weights(visual=1e308), join(random_blocks(5)))


@pytest.mark.parametrize("weight", [1e303, 1e305, 1e306, 1e307, 5e307])
def test_scores_are_finite_or_refused(weight: float) -> None:
    """Each number of the query may be finite and yet not their sum."""
    sharp = make_descriptor(sigmas={a: dict.fromkeys(MODALITIES, 0.01) for a in MODALITIES})
    vector = join(random_blocks(4))
    query, weights = query_from_vector(vector, sharp), Weights(weight, weight, weight)
    try:
        told = explain(query, weights, vector, [True] * 3)
    except WeightError:
        assert weight > 1e303
    else:
        assert np.isfinite([told.score, float(score(query, weights, vector))]).all()


@given(st.integers(0, 2 * TITLE_WIDTH).filter(lambda w: w != TITLE_WIDTH))
def test_other_widths_are_refused(width: int) -> None:
    query = query_from_vector(join(random_blocks(6)), make_descriptor())
    vector = np.full(width, 0.1)
    for use in (
        lambda: score(query, Weights(), vector),
        lambda: explain(query, Weights(), vector, [True] * 3),
        lambda: query_from_vector(vector, make_descriptor()),
    ):
        with pytest.raises(BlockError, match=str(TITLE_WIDTH)):
            use()


@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"smell": np.ones(BLOCK_WIDTH)},
        {"visual": np.ones(BLOCK_WIDTH - 1)},
        {"visual": np.zeros(BLOCK_WIDTH)},
        {"visual": np.full(BLOCK_WIDTH, np.nan)},
        {"visual": np.ones(BLOCK_WIDTH, dtype=np.int64)},
    ],
)
def test_queries_without_direction_are_refused(blocks: dict[str, np.ndarray]) -> None:
    with pytest.raises(BlockError):
        query_from_blocks(blocks, make_descriptor())


@pytest.mark.parametrize("present", [[False] * 3, [True, True], [1, 1, 1], [[True] * 3]])
def test_an_explanation_needs_a_presence(present: object) -> None:
    query = query_from_vector(join(random_blocks(7)), make_descriptor())
    with pytest.raises(BlockError):
        explain(query, Weights(), join(random_blocks(8)), present)  # type: ignore[arg-type]


def test_shapes_that_make_no_ranking_or_query_are_refused() -> None:
    query = query_from_vector(join(random_blocks(7)), make_descriptor())
    with pytest.raises(BlockError, match="expected \\(n"):
        rank(query, Weights(), join(random_blocks(8)))
    with pytest.raises(BlockError):
        query_from_vector(join(random_blocks(8, 2)), make_descriptor())
    with pytest.raises(BlockError):
        Query(np.zeros((3, 4)))


def test_vectors_of_two_spaces_do_not_meet() -> None:
    require_same_space("a" * 64, "a" * 64, "titles.parquet")
    with pytest.raises(SpaceMismatchError, match=r"titles\.parquet.*b{12}.*a{12}") as caught:
        require_same_space("a" * 64, "b" * 64, "titles.parquet")
    assert (caught.value.expected, caught.value.found) == ("a" * 64, "b" * 64)
