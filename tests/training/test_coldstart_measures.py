"""Measures of lists against values by hand and by scikit-learn; intervals against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from resonance.clients.audit.two_way import TwoWay
from resonance.training.coldstart.intervals import Means, over_viewers
from resonance.training.coldstart.measures import (
    Ranking,
    Viewings,
    chance_recall,
    exposure,
    found,
    head_titles,
    miscalibration,
    rank,
    reliability,
    shares,
)
from resonance.training.coldstart.result import AUC, NDCG, RECALL

#: Viewer 0 scores titles 0..5 downwards and viewed 1 and 4; viewer 1 upwards, viewed 5; viewer 2 nothing.
SCORES = np.array([[9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1]], np.float32)
VIEWINGS = Viewings(np.array([0, 0, 1]), np.array([1, 4, 5]))
NONE_SEEN = Viewings(np.empty(0, np.int64), np.empty(0, np.int64))


def ranked(
    seen: Viewings = NONE_SEEN, viewings: Viewings = VIEWINGS, k: int = 2, chances: bool = False
) -> Ranking:
    pool = np.arange(6)
    return rank(
        lambda users, titles: SCORES[users][:, titles],
        np.arange(3),
        pool,
        seen,
        viewings,
        k=k,
        seed=0,
        chances=chances,
    )


def by_viewer(gains: np.ndarray, viewings: Viewings = VIEWINGS) -> list[float]:
    return np.bincount(viewings.viewers, gains, minlength=3)[:2].tolist()


def test_places_lists_and_gains_by_hand() -> None:
    ranking = ranked()
    assert ranking.places.tolist() == [2, 5, 1]
    assert ranking.lists[:2].tolist() == [[0, 1], [5, 4]]
    everything = np.ones(3, np.bool_)
    gains = found(ranking, VIEWINGS, everything, k=2)
    assert by_viewer(gains[RECALL]) == [1 / 2, 1]
    best = 1 + 1 / math.log2(3)
    assert by_viewer(gains[NDCG]) == pytest.approx([(1 / math.log2(3)) / best, 1])
    # viewer 0: of the four others, three stand below title 1 and one below title 4
    assert by_viewer(gains[AUC]) == pytest.approx([(3 / 4 + 1 / 4) / 2, 1])
    assert shares(VIEWINGS, 3).tolist() == [0.5, 0.5, 1]
    # more viewings than places: 1 can be reached
    assert found(ranked(k=1), VIEWINGS, everything, k=1)[RECALL].tolist() == [0, 0, 1]
    # a slice: what is not in it is neither missed nor in its place
    tail = np.array([False, True, True])
    assert by_viewer(found(ranking, VIEWINGS, tail, k=2)[RECALL], VIEWINGS.take(tail)) == [0, 1]
    assert by_viewer(found(ranking, VIEWINGS, tail, k=2)[AUC], VIEWINGS.take(tail)) == pytest.approx(
        [1 / 4, 1]
    )


def test_what_was_seen_is_not_ranked() -> None:
    seen = Viewings(np.array([0, 1, 2, 2, 2, 2, 2]), np.array([0, 4, 0, 1, 2, 3, 4]))
    ranking = ranked(seen)
    assert ranking.places.tolist() == [1, 4, 1]
    assert ranking.candidates.tolist() == [5, 5, 1]
    assert ranking.lists.tolist() == [[1, 2], [5, 3], [5, -1]]
    assert exposure(ranking.lists, np.arange(6) >= 2).tolist() == [0.5, 1, 1]


def test_chance_by_hand_and_by_random_lists() -> None:
    candidates = np.array([6, 6, 6])
    assert chance_recall(candidates, VIEWINGS, 2) == pytest.approx(((2 / 6) * 2 / 2 + (2 / 6) * 1 / 1) / 2)
    rng = np.random.default_rng(0)
    viewings = Viewings(np.repeat(np.arange(3000), 3), np.tile([0, 7, 9], 3000))
    ranking = rank(
        lambda users, titles: np.zeros((len(users), len(titles)), np.float32),
        np.arange(3000),
        np.arange(20),
        NONE_SEEN,
        viewings,
        k=4,
        seed=int(rng.integers(100)),
        chances=False,
    )
    gains = found(ranking, viewings, np.ones(9000, np.bool_), 4)
    expected = chance_recall(ranking.candidates, viewings, 4)
    assert gains[RECALL].sum() / 3000 == pytest.approx(expected, abs=0.02)  # equal scores come by chance
    assert gains[AUC].sum() / 3000 == pytest.approx(0.5, abs=0.02)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(2, 30))
def test_ranking_against_the_plain_way(seed: int, viewers: int, titles: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(viewers * titles).reshape(viewers, titles).astype(np.float32)
    seen, viewed = rng.random((2, viewers, titles)) < 0.3
    viewed &= ~seen
    k = int(rng.integers(1, 6))
    viewings = Viewings(*np.nonzero(viewed))
    ranking = rank(
        lambda users, pool: scores[users][:, pool],
        np.arange(viewers),
        np.arange(titles),
        Viewings(*np.nonzero(seen)),
        viewings,
        k=k,
        seed=0,
        chances=True,
    )
    gains = found(ranking, viewings, np.ones(len(viewings.titles), np.bool_), k)
    for viewer in range(viewers):
        free = np.flatnonzero(~seen[viewer])
        order = free[np.argsort(-scores[viewer, free])]
        assert ranking.lists[viewer][ranking.lists[viewer] >= 0].tolist() == order[:k].tolist()
        mine = viewings.viewers == viewer
        relevant = viewed[viewer, free]
        if not relevant.any():
            continue
        hits = viewed[viewer, order[:k]].sum()
        assert gains[RECALL][mine].sum() == pytest.approx(hits / min(k, relevant.sum()))
        if not relevant.all():
            auc = roc_auc_score(relevant, scores[viewer, free])
            assert gains[AUC][mine].sum() == pytest.approx(auc)
        assert 0 <= gains[NDCG][mine].sum() <= 1 + 1e-9
        assert ranking.expected[ranking.of == viewer].sum() == pytest.approx(1, abs=1e-5)
        assert ranking.came[ranking.of == viewer].tolist() == relevant.tolist()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_the_head_is_the_fewest_titles_with_half_of_the_viewings(counts: list[int]) -> None:
    views = np.array(counts)
    head = head_titles(views)
    if views.sum() == 0:
        assert not head.any()
        return
    assert 2 * views[head].sum() >= views.sum()
    assert 2 * (views[head].sum() - views[head].min()) < views.sum()  # one fewer would not do
    assert views[head].min() >= views[~head].max(initial=0)


def test_miscalibration_by_hand() -> None:
    tags = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    history = np.array([[7.0, 3, 0, 0], [7, 3, 0, 0], [0, 0, 0, 5], [0, 0, 2, 0]])
    lists = np.array([[0, 0], [1, 1], [0, 1], [0, 1]])
    found_by = miscalibration(history, lists, tags)
    for row, q in ((0, [1, 0]), (1, [0, 1])):
        p = np.array([0.7, 0.3])
        mixed = 0.99 * np.array(q) + 0.01 * p
        assert found_by[row] == pytest.approx(rel_entr(p, mixed).sum())
    assert np.isnan(found_by[2])  # no tag in the history
    assert found_by[3] == pytest.approx(0)  # half and half, as the list


def test_reliability_by_hand() -> None:
    """40 viewers with one viewing each of two titles: the score says 0.8 and 0.2, and so it comes."""
    viewings = Viewings(np.arange(40), np.where(np.arange(40) < 32, 0, 1))

    def right(users: np.ndarray, titles: np.ndarray) -> np.ndarray:
        return np.log(np.tile(np.array([0.8, 0.2], np.float32), (len(users), 1)))[:, titles]

    def wrong(users: np.ndarray, titles: np.ndarray) -> np.ndarray:
        return right(users, titles)[:, ::-1]

    errors = []
    for scorer in (right, wrong):
        ranking = rank(scorer, np.arange(40), np.arange(2), NONE_SEEN, viewings, k=1, seed=0, chances=True)
        told = reliability(ranking, viewings)
        assert told.expected[0] == pytest.approx(0.2)
        assert told.expected[-1] == pytest.approx(0.8)
        errors.append(told.error)
    assert errors[0] < 0.5 < 1 < errors[1]


def test_intervals_cover_the_difference_of_two_who_know_nothing() -> None:
    """Two fixed lists of titles, drawn by lot, for everyone: viewers alone would call that a difference."""
    both, alone, runs = 0, 0, 200
    rng = np.random.default_rng(0)
    viewers, titles = 150, 60
    for _ in range(runs):
        appeal = rng.gamma(0.5, size=titles)
        viewed = rng.random((viewers, titles)) < 0.1 * appeal[None] / appeal.mean()
        viewings = Viewings(*np.nonzero(viewed))
        share = shares(viewings, viewers)
        lists = np.stack([np.isin(viewings.titles, rng.choice(titles, 20, replace=False)) for _ in range(2)])
        gains = (lists * share).T
        low, high = Means(viewings, gains, share).difference(0, 1).interval
        both += low <= 0 <= high
        means = np.array([np.bincount(viewings.viewers, column, minlength=viewers) for column in gains.T]).T
        some = viewings.counts(viewers) > 0
        low, high = over_viewers(means[some, 0] - means[some, 1]).interval
        alone += low <= 0 <= high
    assert 0.9 < both / runs < 0.99  # a few miss it: intervals that never do are too wide
    assert alone / runs < 0.7


def test_differences_are_paired_and_corrected() -> None:
    rng = np.random.default_rng(1)
    viewings = Viewings(np.repeat(np.arange(200), 5), rng.integers(50, size=1000))
    share = np.full(1000, 1 / 5)
    one = rng.random(1000) * share
    means = Means(viewings, np.column_stack([one, one + 0.1 * share, 0 * one]), share)
    assert means.values.tolist() == pytest.approx([one.sum() / 200, one.sum() / 200 + 0.1, 0])
    low, high = means.difference(1, 0).interval
    assert (low, high) == pytest.approx((0.1, 0.1))  # the same viewings: the noise falls out
    relative = means.relative(1, 0)
    assert relative is not None
    assert relative.value == pytest.approx(0.1 / (one.sum() / 200))
    assert relative.interval[0] < relative.value < relative.interval[1]
    back = means.relative(0, 1)
    assert back is not None
    # of the logarithm: the other way about it is the same interval
    assert [1 / (1 + edge) - 1 for edge in back.interval[::-1]] == pytest.approx(relative.interval)
    narrow, wide = (means.estimate(0, tests=tests).interval for tests in (1, 10))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert means.relative(0, 2) is None
    assert means.relative(2, 0) is None


@pytest.mark.parametrize("viewers", [7, 15, 30])
def test_intervals_hold_where_little_is_found(viewers: int) -> None:
    """One viewing in ten is found: of few viewers often none, which does not mean that none ever is."""
    held = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        viewings = Viewings(np.arange(viewers), rng.integers(0, 200, viewers))
        gains = (rng.random(viewers) < 0.1).astype(np.float64)
        low, high = Means(viewings, gains[:, None], np.ones(viewers)).estimate(0).interval
        assert low < high
        held += low <= 0.1 <= high
    assert held / 400 > 0.93


def test_where_nothing_varies_the_exact_bound_is_told() -> None:
    viewings = Viewings(np.arange(10), np.arange(10))
    means = Means(viewings, np.column_stack([np.zeros(10), np.ones(10), np.zeros(10)]), np.ones(10))
    bound = 1 - 0.025**0.1  # Clopper and Pearson's of 0 among 10
    assert means.estimate(0).interval == pytest.approx((0, bound))
    assert means.estimate(1).interval == pytest.approx((1 - bound, 1))
    assert means.difference(0, 2).interval == pytest.approx((-bound, bound))
    assert means.difference(1, 0).interval == pytest.approx((1 - bound, 1))
    wider = 1 - 0.005**0.1
    assert means.difference(0, 2, tests=5).interval == pytest.approx((-wider, wider))


@pytest.mark.parametrize("titles", [7, 15])
@pytest.mark.parametrize("common", [0.8, 0.4])
def test_relative_intervals_hold_where_two_hardly_differ(titles: int, common: float) -> None:
    """Of `common` of all titles both find the viewing, of a tenth one alone: among few titles often of none,
    which does not mean that they are the same."""
    held, same, same_held, runs = 0, 0, 0, 400
    truth = common / (common + 0.1) - 1
    for seed in range(runs):
        drawn = np.random.default_rng(seed).random(titles)
        gains = np.column_stack([drawn < common, drawn < common + 0.1]).astype(np.float64)
        means = Means(Viewings(np.arange(titles), np.arange(titles)), gains, np.ones(titles))
        found = means.relative(0, 1)
        holds = found is None or found.interval[0] <= truth <= found.interval[1]
        equal = bool((gains[:, 0] == gains[:, 1]).all())
        held, same, same_held = held + holds, same + equal, same_held + (equal and holds)
    assert same > 0.15 * runs
    assert same_held == same
    assert held / runs > 0.93


def test_an_equal_gain_is_no_sure_one() -> None:
    """The range of the ratio is that of the difference where all is found: what one lacks, the other has."""
    viewings = Viewings(np.arange(10), np.arange(10))
    half = (np.arange(10) % 2).astype(np.float64)
    means = Means(viewings, np.column_stack([np.ones(10), np.ones(10), half, half]), np.ones(10))
    bound = 1 - 0.025**0.1
    for one, other, low, high in (
        (0, 1, -bound, bound / (1 - bound)),
        (2, 3, -bound / (0.5 + bound), bound / 0.5),
    ):
        found = means.relative(one, other)
        assert found is not None
        assert (found.value, *found.interval) == pytest.approx((0, low, high))


def test_an_error_by_hand() -> None:
    """Two viewers with two titles each; what both viewers add to a title is alike."""
    clusters = TwoWay(np.array([7, 7, 9, 9]), np.array([0, 5, 0, 5]))
    # viewers sum to 0, titles to +-2, pairs stand alone: 0 + 2 * 8 - 4 / 3 * 4, less than titles alone
    assert clusters.error(np.array([1.0, -1, 1, -1])) == pytest.approx(4)
    assert clusters.error(np.array([1.0, 1, -1, -1])) == pytest.approx(4)
    # viewers 3 and 1, titles 3 and 1: 2 * 10 + 2 * 10 - 4 / 3 * 6
    influence = np.array([2.0, 1, 1, 0])
    assert clusters.error(influence) == pytest.approx(math.sqrt(20 + 20 - 8))
    assert clusters.half_width(influence, tests=3) == pytest.approx(t.ppf(1 - 0.025 / 3, 1) * math.sqrt(32))


def test_a_single_cluster_says_nothing_of_others() -> None:
    viewings = Viewings(np.array([0, 1, 2]), np.array([4, 4, 4]))
    means = Means(viewings, np.array([[1.0], [0.0], [1.0]]), np.ones(3))
    assert means.estimate(0).interval == (0, 1)
    means = Means(viewings, np.array([[1.0, 0.5], [0.0, 0.5], [1.0, 0.5]]), np.ones(3))
    assert means.difference(0, 1).interval == (-1, 1)
    assert means.relative(0, 1) is None
    assert over_viewers(np.array([0.3]), most=2.0).interval == (0, 2)


def test_an_interval_of_one_title_is_the_whole_range_whatever_its_error() -> None:
    alone = TwoWay(np.array([1, 2, 3]), np.array([0, 0, 0]))
    assert alone.half_width(np.zeros(3)) == np.inf
    assert alone.half_width(np.array([0.1, -0.1, 0.2])) == np.inf
