"""Searches: exact scores, shares that are the score, the moment, and results that differ among themselves."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resonance.clients.discovery.diversity import _between_pairs, diverse
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import UsageError
from resonance.space import Weights, query_from_vector, rank, score, unit
from resonance.space.errors import SpaceMismatchError
from tests.clients.discovery.made import DESCRIPTOR, Made, random_titles, write
from tests.space.strategies import make_descriptor

TITLES = random_titles(60, seed=8)


@pytest.fixture(params=["parquet", "qdrant"])
def searcher(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    parquet = request.param == "parquet"
    uri = str(tmp_path / "store") if parquet else f"qdrant+local:{tmp_path}/store?name=films"
    write(uri, TITLES)
    with closing(open_library(uri)) as library:
        yield Searcher(library, DESCRIPTOR)


@pytest.mark.parametrize(
    "weights",
    [
        *("visual=1", "visual=3,audio=0.2,transcript=0", "audio=0,visual=0"),
        *("visual=1e39", "visual=1e-50,audio=0,transcript=0"),  # float32 knows neither
    ],
)
def test_titles_rank_as_the_formula_has_it_and_shares_sum_to_the_score(
    searcher: Searcher, weights: str
) -> None:
    turned = Weights.parse(weights)
    query = query_from_vector(TITLES[7].vector, DESCRIPTOR)
    vectors = np.stack([t.vector for t in TITLES])
    hits = searcher.find_titles(query, turned, limit=15)
    expected = rank(query, turned, vectors)[:15]
    assert [hit.facts.media_id for hit in hits] == [TITLES[i].media_id for i in expected]
    for hit, at in zip(hits, expected, strict=True):
        assert hit.score == sum(share.value for share in hit.shares)
        assert hit.score == pytest.approx(float(score(query, turned, vectors[at])), rel=1e-12, abs=1e-12)
        assert tuple(not share.inferred for share in hit.shares) == TITLES[at].present


def test_the_segment_of_a_hit_is_the_titles_best(searcher: Searcher) -> None:
    query = query_from_vector(TITLES[9].segments[2].vector, DESCRIPTOR)
    hits = {hit.facts.media_id: hit for hit in searcher.find_titles(query, Weights(), limit=60)}
    assert len(hits) == 60
    for made in TITLES:
        scores = score(query, Weights(), np.stack([s.vector for s in made.segments]))
        match = hits[made.media_id].segment
        assert match is not None
        assert (match.index, match.start_s) == (int(scores.argmax()), 8.0 * int(scores.argmax()))
        assert match.score == pytest.approx(scores.max(), abs=1e-12)
    found = hits["t9"].segment
    assert found is not None
    assert found.index == 2


def test_segments_are_found_by_themselves(searcher: Searcher) -> None:
    query = query_from_vector(TITLES[11].segments[1].vector, DESCRIPTOR)
    (best, *others) = searcher.find_segments(query, Weights(), limit=5)
    assert (best.facts.media_id, best.segment.index) == ("t11", 1)
    assert best.score == sum(share.value for share in best.shares)
    assert all(other.score < best.score for other in others)


def test_like_a_title_finds_it_first_and_can_leave_it_out(searcher: Searcher) -> None:
    query = searcher.like("t20")
    assert searcher.find_titles(query, Weights(), limit=3)[0].facts.media_id == "t20"
    others = searcher.find_titles(query, Weights(), limit=60, only=Filter(excluded=frozenset({"t20"})))
    assert "t20" not in [hit.facts.media_id for hit in others]
    assert len(others) == 59
    with pytest.raises(UsageError, match="no title 'nobody'"):
        searcher.like("nobody")


def test_a_query_of_another_space_is_refused(searcher: Searcher) -> None:
    other = make_descriptor(fusion=replace(DESCRIPTOR.fusion, pooling="mean"))
    assert other.fingerprint != DESCRIPTOR.fingerprint
    with pytest.raises(SpaceMismatchError):
        Searcher(searcher.library, other)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one(searcher: Searcher, limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit {limit}"):
        searcher.find_titles(searcher.like("t1"), Weights(), limit=limit)


def test_diversity_leaves_out_copies(tmp_path: Path) -> None:
    chance = np.random.default_rng(2)
    base = unit(chance.standard_normal((1, 3, 596)))
    copies = [Made(f"copy{i}", unit(base + 0.02 * chance.standard_normal(base.shape))) for i in range(4)]
    near = [Made(f"near{i}", unit(base + 1.2 * unit(chance.standard_normal(base.shape)))) for i in range(4)]
    uri = str(tmp_path / "store")
    write(uri, [*copies, *near])
    with closing(open_library(uri)) as library:
        searcher = Searcher(library, DESCRIPTOR)
        query = query_from_vector(base.reshape(-1) / np.sqrt(3), DESCRIPTOR)
        plain = [h.facts.media_id[:4] for h in searcher.find_titles(query, Weights(), limit=4)]
        varied = [
            h.facts.media_id[:4] for h in searcher.find_titles(query, Weights(), limit=4, diversity=0.8)
        ]
    assert plain == ["copy"] * 4
    assert varied == ["copy", "near", "near", "near"]


def test_with_diversity_a_smaller_limit_has_the_first_of_a_larger_one(searcher: Searcher) -> None:
    query = searcher.like("t20")
    for find in (searcher.find_titles, searcher.find_segments):
        found = [
            [(hit.facts.media_id, hit.score) for hit in find(query, Weights(), limit=limit, diversity=0.5)]
            for limit in (3, 6, 10, 40)
        ]
        for fewer in found[:-1]:
            assert fewer == found[-1][: len(fewer)]


def test_diverse_is_the_formula_of_mmr() -> None:
    """Against the definition, computed one result at a time."""
    chance = np.random.default_rng(4)
    vectors = unit(chance.standard_normal((30, 16)))
    scores = chance.standard_normal(30)
    relevance = (scores - scores.min()) / np.ptp(scores)
    alike = vectors @ vectors.T
    pairs = alike[~np.eye(30, dtype=bool)]
    alike = (alike - pairs.min()) / np.ptp(pairs)
    for diversity in (0.2, 0.5, 0.9, 1.0):
        taken = [int(scores.argmax())]
        while len(taken) < 12:
            rest = [i for i in range(30) if i not in taken]
            taken.append(
                max(rest, key=lambda i: (1 - diversity) * relevance[i] - diversity * alike[i, taken].max())
            )
        assert diverse(scores, vectors, 12, diversity) == taken
    assert diverse(scores, vectors, 12, 0.0) == list(np.argsort(-scores)[:12])


def test_diverse_does_not_hold_all_pairs() -> None:
    """--limit 800 asks for 4,000 candidates, of which all pairs are 128 MB."""
    chance = np.random.default_rng(5)
    vectors = unit(chance.standard_normal((4000, 8)))
    tracemalloc.start()
    taken = diverse(chance.standard_normal(4000), vectors, 10, 0.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(taken)) == 10
    assert peak < 32e6


def test_diverse_has_the_scale_of_all_pairs_whatever_is_held() -> None:
    chance = np.random.default_rng(6)
    for candidates in (2, 255, 256, 257, 600):
        vectors = unit(chance.standard_normal((candidates, 16)))
        scores = chance.standard_normal(candidates)
        pairs = (vectors @ vectors.T)[~np.eye(candidates, dtype=bool)]
        low, high = _between_pairs(vectors)
        assert (low, high) == pytest.approx((pairs.min(), pairs.max()))
        assert len(set(diverse(scores, vectors, candidates, 0.5))) == candidates


@pytest.mark.parametrize("diversity", [-0.1, 1.5, float("nan")])
def test_a_diversity_outside_its_range(diversity: float) -> None:
    with pytest.raises(UsageError, match="diversity"):
        diverse(np.ones(3), np.eye(3), 2, diversity)


def test_equal_scores_and_single_candidates() -> None:
    assert diverse(np.ones(3), np.eye(3), 2, 0.5) == [0, 1]
    assert diverse(np.ones(1), np.eye(1), 5, 0.5) == [0]
    assert diverse(np.ones(0), np.zeros((0, 3)), 5, 0.5) == []
