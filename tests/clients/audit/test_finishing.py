"""With a planted position bias the weighted figures are right and the plain ones are not; kinds; weights."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from resonance.clients.audit.finishing_blocks import find_blocks
from resonance.clients.audit.finishing_curves import (
    Curve,
    Estimate,
    Pairs,
    Ranks,
    curve,
    rank_correlations,
    score_groups,
    weighted_correlation,
)
from resonance.clients.audit.finishing_kinds import Kind, KindFound, carried_by, judge_kinds
from resonance.clients.audit.finishing_positions import PositionFit
from resonance.clients.audit.finishing_rows import FinishingRows, FinishingSettings
from resonance.clients.audit.finishing_weights import (
    CLIP,
    FITTED,
    NONE,
    STATED,
    SeenWeights,
    effective_size,
    seen_weights,
)
from tests.clients.audit.finishing_model import PLACES, Drawn, draw

RUNS, VIEWERS, LISTS = 200, 150, 6
FIGURES = ("completion", "rise", "seen", "seen rise", "correlation")


def curves(
    drawn: Drawn, weights: NDArray[np.float64], seed: int, draws: int, fit: PositionFit | None = None
) -> tuple[Curve, Curve]:
    """Completion of what was clicked, and of what was seen."""
    groups = score_groups(drawn.score)

    def of(clicked: NDArray[np.bool_] | None) -> Curve:
        return curve(
            drawn.score,
            groups,
            drawn.users,
            drawn.completion,
            weights,
            drawn.clicked & np.isfinite(drawn.completion),
            clicked=clicked,
            draws=draws,
            seed=seed,
            refit=fit,
        )

    return of(None), of(drawn.clicked)


def fitted_weights(
    drawn: Drawn, chosen: NDArray[np.bool_] | None = None, *, clip: float = CLIP
) -> SeenWeights:
    """Of rows, or of those chosen, of which positions alone are known."""
    rows = np.ones(len(drawn.score), np.bool_) if chosen is None else chosen
    return seen_weights(
        users=drawn.users[rows],
        score=drawn.score[rows],
        position=drawn.position[rows],
        propensity=np.full(int(rows.sum()), np.nan),
        clicked=drawn.clicked[rows],
        clip=clip,
    )


def correlation(drawn: Drawn, weights: NDArray[np.float64], seed: int, draws: int) -> Estimate:
    some = drawn.clicked
    pairs = Pairs(drawn.users[some], drawn.users[some], drawn.completion[some], weights[some])
    return rank_correlations(pairs, [drawn.score[some]], draws=draws, seed=seed)[0]


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    """Of very many other viewers who saw all: as expectations, and the correlation as it came."""
    drawn = draw(40_000, LISTS, seed=10**6, all_seen=True)
    groups = score_groups(drawn.score)
    clicks = np.bincount(groups, drawn.would_click)
    watched = np.bincount(groups, drawn.would_click * drawn.would_watch)
    rows = np.bincount(groups)
    some = drawn.clicked
    return {
        "completion": watched.sum() / clicks.sum(),
        "rise": watched[-1] / clicks[-1] - watched[0] / clicks[0],
        "seen": watched.sum() / rows.sum(),
        "seen rise": watched[-1] / rows[-1] - watched[0] / rows[0],
        "correlation": float(stats.spearmanr(drawn.score[some], drawn.completion[some])[0]),
    }


def test_weighted_figures_cover_the_truth_and_plain_ones_do_not(truth: dict[str, float]) -> None:
    covered = dict.fromkeys(FIGURES, 0)
    values: dict[str, list[float]] = {name: [] for name in FIGURES}
    plain: dict[str, list[float]] = {name: [] for name in FIGURES}
    for run in range(RUNS):
        drawn = draw(VIEWERS, LISTS, seed=run)
        weights = 1 / drawn.chance
        clicked, seen = curves(drawn, weights, run, 300)
        ranks = correlation(drawn, weights, run, 100)
        found = (clicked.all, clicked.rise, seen.all, seen.rise, ranks)
        for name, one in zip(FIGURES, found, strict=True):
            covered[name] += one.interval[0] <= truth[name] <= one.interval[1]
            values[name].append(one.value)
            plain[name].append(one.unweighted)
    for name in FIGURES:
        # of 200 intervals of 95%, at least 180 cover with probability 0.998
        assert covered[name] >= 180, (name, covered)
        spread = np.std(values[name])
        error = np.mean(values[name]) - truth[name]
        assert abs(error) < 4 * spread / np.sqrt(RUNS) + 0.005, name  # 0.005: a ratio's own bias
        if name in ("completion", "seen", "seen rise"):
            assert abs(np.mean(plain[name]) - truth[name]) > 3 * np.std(plain[name]), name
    assert sum(covered.values()) < 5 * RUNS  # intervals that always cover say too little


def test_intervals_know_that_fitted_chances_are_not_certain(truth: dict[str, float]) -> None:
    fitted, kept, values = 0, 0, []
    for run in range(RUNS):
        drawn = draw(VIEWERS, LISTS, seed=run)
        weights = fitted_weights(drawn)
        assert weights.fit is not None
        for fit in (weights.fit, None):
            _, seen = curves(drawn, weights.weights, run, 300, fit)
            covered = seen.all.interval[0] <= truth["seen"] <= seen.all.interval[1]
            if fit is None:
                kept += covered
            else:
                fitted += covered
        values.append(seen.all.value)
    assert fitted >= 180, (fitted, kept)
    assert kept < fitted, "weights that are kept are taken for certain"
    assert abs(np.mean(values) - truth["seen"]) < 0.02 * truth["seen"]


def test_a_draw_of_everyone_once_fits_what_was_fitted() -> None:
    drawn = draw(200, 5, seed=4)
    fit = fitted_weights(drawn).fit
    assert fit is not None
    counts = np.ones((3, 200))
    counts[1, :100] = 0
    counts[2] = 0
    moved = fit.moved(np.arange(200), counts)
    np.testing.assert_allclose(moved[0], 1, atol=1e-4)
    assert np.abs(moved[1] - 1).max() > 0.01
    half = fitted_weights(drawn, drawn.users >= 100).fit
    assert half is not None
    # groups are cut by all scores, and by those of the half alone
    np.testing.assert_allclose(fit.chances / moved[1], half.chances, rtol=0.1)
    assert np.isnan(moved[2]).all(), "nobody clicked"


def test_a_curve_is_the_ratio_of_sums() -> None:
    drawn = draw(30, 5, seed=1)
    weights = np.random.default_rng(0).uniform(1, 5, len(drawn.score))
    groups = score_groups(drawn.score)
    found, _ = curves(drawn, weights, 0, 50)
    assert found.rows.tolist() == [150] * 10
    for group in range(10):
        mine = (groups == group) & drawn.clicked
        expected = np.average(drawn.completion[mine], weights=weights[mine])
        assert found.value[group] == pytest.approx(expected)
        assert found.unweighted[group] == pytest.approx(drawn.completion[mine].mean())
        assert found.low[group] <= expected <= found.high[group]
    assert found.rise.value == pytest.approx(found.value[9] - found.value[0])


def test_of_what_is_seen_each_row_counts_that_was_not_clicked() -> None:
    drawn = draw(30, 5, seed=1)
    weights = np.random.default_rng(0).uniform(1, 5, len(drawn.score))
    groups = score_groups(drawn.score)
    shown = (groups > 0) | ~drawn.clicked  # of the lowest group nothing is clicked
    some = replace(drawn, **{part.name: getattr(drawn, part.name)[shown] for part in fields(drawn)})
    _, found = curves(some, weights[shown], 0, 50)
    groups = score_groups(some.score)
    for group in range(len(found.value)):
        mine = groups == group
        assert found.value[group] == pytest.approx(
            (weights[shown] * some.completion)[mine].sum() / mine.sum()
        )
        assert found.unweighted[group] == pytest.approx(some.completion[mine].mean())
    assert found.all.value == pytest.approx((weights[shown] * some.completion).mean())


@pytest.mark.parametrize("is_fitted", [False, True])
def test_completion_that_is_not_known_makes_what_is_seen_no_less_watched(is_fitted: bool) -> None:
    """Three clicks of ten do not say how far they were watched: they are clicks all the same."""
    drawn = draw(300, 10, seed=3)
    fitted = fitted_weights(drawn)
    weights, fit = (fitted.weights, fitted.fit) if is_fitted else (1 / drawn.chance, None)
    gone = drawn.clicked & (np.random.default_rng(5).random(len(weights)) < 0.3)
    told = replace(drawn, completion=np.where(gone, np.nan, drawn.completion))
    _, whole = curves(drawn, weights, 0, 100, fit)
    _, found = curves(told, weights, 0, 100, fit)
    assert found.all.value == pytest.approx(whole.all.value, rel=0.02)
    assert found.all.unweighted == pytest.approx(whole.all.unweighted, rel=0.02)
    assert found.all.interval == pytest.approx(whole.all.interval, rel=0.03)
    np.testing.assert_allclose(found.value, whole.value, rtol=0.15)
    watched = drawn.clicked & ~gone
    clicks = weights[drawn.clicked].sum() / len(weights)
    expected = clicks * np.average(drawn.completion[watched], weights=weights[watched])
    assert found.all.value == pytest.approx(expected)


def test_equal_scores_share_a_group() -> None:
    assert score_groups(np.array([1.0] * 50 + [2.0] * 5)).tolist() == [0] * 50 + [1] * 5
    assert set(score_groups(np.zeros(7)).tolist()) == {0}


def test_ranks_of_equal_weights_are_scipys_and_weights_are_repetitions() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 8, 60).astype(float), rng.integers(0, 5, 60) + 0.2 * rng.integers(0, 8, 60)
    ones = np.ones(60)
    found = weighted_correlation(Ranks(x).of(ones), Ranks(y).of(ones), ones)
    assert found == pytest.approx(stats.spearmanr(x, y)[0])
    often = rng.integers(1, 4, 60)
    found = weighted_correlation(Ranks(x).of(often * 1.0), Ranks(y).of(often * 1.0), often * 1.0)
    assert found == pytest.approx(stats.spearmanr(np.repeat(x, often), np.repeat(y, often))[0])


def test_what_does_not_vary_has_no_correlation() -> None:
    pairs = Pairs(np.arange(9), np.arange(9), np.ones(9), np.ones(9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tests in (1, 2):
            (found,) = rank_correlations(pairs, [np.arange(9.0)], draws=20, seed=0, tests=tests)
            assert np.isnan([found.value, *found.interval]).all()


#: Places of eight titles by what has nothing to do with how far they are watched: one order in 14 is as near
#: to that order, or to its reverse.
EIGHT = np.array([0, 3, 2, 4, 6, 1, 5, 7])


def of_eight(viewers: int = 200) -> tuple[Pairs, NDArray[np.float64]]:
    """Every viewer watches each title about as far as all do."""
    users, titles = np.repeat(np.arange(viewers), 8), np.tile(np.arange(8), viewers)
    noise = np.random.default_rng(0).normal(size=8 * viewers)
    outcome = (titles + 0.3 * noise + 3) / 14
    return Pairs(users, titles, outcome, np.ones(8 * viewers)), EIGHT[titles].astype(np.float64)


def test_of_few_titles_a_correlation_is_not_sure_though_viewers_are_many() -> None:
    assert stats.spearmanr(np.arange(8), EIGHT).statistic == pytest.approx(0.69, abs=0.001)
    pairs, column = of_eight()
    (by_viewers,) = rank_correlations(pairs, [column], draws=100, seed=0, tests=2)
    assert by_viewers.interval[0] > 0.5
    for tests in (1, 2):
        (found,) = rank_correlations(pairs, [column], draws=400, seed=0, tests=tests, over_titles=True)
        assert found.value == pytest.approx(by_viewers.value)
        assert found.interval[0] < 0
        assert found.value < found.interval[1] < 1


def test_blocks_are_sure_of_titles_too() -> None:
    """A block's share is much the title's; eight titles say little however many have watched them."""
    pairs, column = of_eight()
    count = len(column)
    rows = FinishingRows(
        users=pairs.users,
        titles=pairs.titles,
        score=column,
        weights=np.ones(count),
        clicked=np.ones(count, bool),
        completion=pairs.outcome,
        watch_s=np.full(count, np.nan),
        shares=np.stack([column, np.zeros(count), np.zeros(count)], axis=1),
    )
    visual, *_ = find_blocks(rows, FinishingSettings(draws=100), lambda told: None)
    assert visual.correlation is not None
    assert visual.correlation.value > 0.5
    assert visual.correlation.interval[0] < 0


def test_chances_are_fitted_from_clicks() -> None:
    drawn = draw(3000, 6, seed=2)
    found = fitted_weights(drawn, clip=0.01)
    assert found.method == FITTED
    assert found.by_position is not None
    positions, chances = found.by_position
    assert positions.tolist() == list(range(1, PLACES + 1))
    np.testing.assert_allclose(chances, 1 / positions, rtol=0.15)
    plain = np.bincount(drawn.position, drawn.clicked)[1:] / np.bincount(drawn.position)[1:]
    truth = 1 / positions
    assert np.abs(np.log(chances / truth)).mean() < np.abs(np.log(plain / plain[0] / truth)).mean()
    np.testing.assert_allclose(found.weights, 1 / chances[drawn.position - 1])


def test_chances_that_can_be_fitted_exactly_are() -> None:
    """Clicks as a product of position and score group say what they are made of."""
    rng = np.random.default_rng(5)
    rows = 400_000
    position = rng.integers(1, 5, rows)
    score = np.floor(rng.random(rows) * 5 + 0.5 * (position == 1))
    wanted = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.6])[score.astype(int)]
    clicked = rng.random(rows) < wanted / position
    found = seen_weights(
        users=np.arange(rows) % 1000,
        score=score,
        position=position,
        propensity=np.full(rows, np.nan),
        clicked=clicked,
    ).by_position
    assert found is not None
    np.testing.assert_allclose(found[1], 1 / np.arange(1, 5), rtol=0.03)


def test_where_chances_come_from_otherwise() -> None:
    score, unknown, users = np.arange(6.0), np.full(6, np.nan), np.arange(6)
    clicked = np.array([True, False, True, False, True, True])
    none = seen_weights(
        users=users, score=score, position=np.zeros(6, int), propensity=unknown, clicked=clicked
    )
    assert none.method == NONE
    assert none.weights.tolist() == [1] * 6
    position = np.array([1, 2, 4, 100, 0, 1])
    supposed = seen_weights(
        users=users, score=score, position=position, propensity=unknown, clicked=clicked, position_bias=1.0
    )
    np.testing.assert_array_equal(supposed.weights, [1, 2, 4, 20, np.nan, 1])
    assert supposed.clipped == pytest.approx(0.2)
    assert "(1 / position)^1" in supposed.method
    assert not supposed.why
    all_clicked = np.ones(6, bool)
    viewings = seen_weights(
        users=users, score=score, position=position, propensity=unknown, clicked=all_clicked
    )
    assert "not clicked" in viewings.why
    assert viewings.weights[3] == 20
    # position 1 alone shows high scores: nothing compares it with the others
    apart = np.array([1, 1, 1, 2, 2, 2])
    crossed = seen_weights(users=users, score=-score, position=apart, propensity=unknown, clicked=clicked)
    assert "do not cross" in crossed.why
    stated = seen_weights(
        users=users,
        score=score,
        position=position,
        propensity=np.array([1, 0.5, 0.01, np.nan, 1, 1]),
        clicked=clicked,
    )
    assert stated.method == STATED
    np.testing.assert_array_equal(stated.weights, [1, 2, 20, np.nan, 1, 1])
    assert stated.clipped == pytest.approx(0.2)


def test_effective_size() -> None:
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_size(np.array([1.0, 0, 0])) == 1
    assert effective_size(np.zeros(3)) == 0


def judged(seed: int, planted: str | None = None) -> list[KindFound]:
    """12 tags of 8 titles; titles differ in how often they are left, and viewers in how often they leave."""
    rng = np.random.default_rng([seed, 9])
    viewers, titles, rows = 150, 96, 6000
    users, shown = rng.integers(0, viewers, rows), rng.integers(0, titles, rows)
    leaving = -2 + 0.6 * rng.standard_normal(titles)[shown] + 0.6 * rng.standard_normal(viewers)[users]
    clicking = np.full(rows, -0.5)
    if planted is not None:
        loud = shown // 8 == int(planted)
        leaving, clicking = leaving + 2.0 * loud, clicking + 1.0 * loud
    clicked = rng.random(rows) < 1 / (1 + np.exp(-clicking))
    left = rng.random(rows) < 1 / (1 + np.exp(-leaving))
    return judge_kinds(
        [Kind("tag", str(tag), shown // 8 == tag) for tag in range(12)],
        users=users,
        titles=shown,
        clicked=clicked,
        abandoned=left & clicked,
        weights=rng.uniform(1, 5, rows),
    )


def test_a_planted_kind_is_found_and_hardly_ever_another() -> None:
    found = [judged(seed, planted="3") for seed in range(10)]
    assert sum(kinds[0].name == "3" and kinds[0].is_abandoned for kinds in found) >= 9
    first = found[0][0]
    assert first.click_rate > first.rest_click_rate
    assert first.interval[0] < first.difference < first.interval[1]
    alarms = sum(
        any(kind.is_abandoned or kind.is_finished for kind in judged(seed)) for seed in range(100, 160)
    )
    # of 60 draws with nothing planted, more than 8 with an alarm at 5% have probability 0.002
    assert alarms <= 8


def test_titles_count_as_well_as_viewers() -> None:
    """Without them a kind of few titles is found wherever one of its titles is bad."""
    users = np.tile(np.arange(200), 16)
    titles = np.repeat(np.arange(16), 200)
    left = np.isin(titles, [0])  # one title of sixteen, left by all
    (kind, *_) = judge_kinds(
        [Kind("tag", "a", titles < 8)],
        users=users,
        titles=titles,
        clicked=np.ones(3200, bool),
        abandoned=left,
        weights=np.ones(3200),
    )
    assert kind.difference == pytest.approx(1 / 8)
    assert not kind.is_abandoned
    assert np.isnan(kind.click_rate)


def test_a_kind_is_as_sure_as_the_few_titles_that_it_is_held_against() -> None:
    """A kind and its complement are one test, whichever has few titles: alarms are as rare for both."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        chances = np.full(108, 1.0)
        chances[:8] = 3.0  # few that are popular, and all others
        titles = rng.choice(108, 2000, p=chances / chances.sum())
        bad = rng.normal(size=108)
        left = rng.random(2000) < 1 / (1 + np.exp(2 - bad[titles]))
        rest, few = judge_kinds(
            [Kind("language", "en", titles >= 8), Kind("language", "fr", titles < 8)],
            users=rng.integers(0, 200, 2000),
            titles=titles,
            clicked=np.ones(2000, bool),
            abandoned=left,
            weights=np.ones(2000),
        )
        assert rest.interval == pytest.approx((-few.interval[1], -few.interval[0]))
        alarms += few.is_abandoned or few.is_finished
    assert alarms <= 6  # of 60, where 2.5% are promised


@pytest.mark.parametrize(("clicks", "is_finished"), [(60, False), (400, True)])
def test_a_kind_with_no_abandoned_click_is_finished_only_if_it_has_many(
    clicks: int, is_finished: bool
) -> None:
    """Of 60 clicks at 5% none is abandoned once in 22 times; of 400, never."""
    rows = np.arange(4000)
    inside = rows < clicks
    (found,) = judge_kinds(
        [Kind("tag", "a", inside)],
        users=rows % 300,
        titles=np.where(inside, rows % 20, 20 + rows % 180),
        clicked=np.ones(4000, bool),
        abandoned=~inside & (rows % 20 == 0),
        weights=np.ones(4000),
    )
    assert (found.abandoned, found.rest) == (0, pytest.approx(0.05, abs=0.001))
    assert found.is_finished == is_finished
    rate = 0.05 * (1 - clicks / 4000)  # of both together
    by_lot = np.sqrt(rate * (1 - rate) * (1 / clicks + 1 / (4000 - clicks)))
    assert found.interval[1] - found.difference >= stats.t.ppf(0.975, 19) * by_lot * (1 - 1e-9)


def test_clicks_of_unknown_completion_count_in_click_rates_alone() -> None:
    rows = np.arange(4000)
    users, titles = np.random.default_rng(0).integers(0, 50, (2, 4000))
    same = {"users": users, "titles": titles, "weights": np.ones(4000)}
    kind = Kind("tag", "a", rows % 2 == 0)
    clicked = rows % 4 < 2  # half of the kind, and half of the others
    left = clicked & (rows % 3 == 0)
    watched = clicked & ~(kind.rows & (rows % 5 < 2))  # of the kind, two of five are not known
    (all_known,) = judge_kinds([kind], **same, clicked=clicked, abandoned=left)
    (found,) = judge_kinds([kind], **same, clicked=clicked, abandoned=left & watched, watched=watched)
    assert (all_known.clicks, found.clicks) == (1000, 600)
    assert found.click_rate == all_known.click_rate == 0.5
    assert found.rest_click_rate == 0.5
    assert found.abandoned == pytest.approx(all_known.abandoned, abs=0.01)


def test_kinds_with_too_few_of_anything_are_not_looked_at() -> None:
    users, titles = np.arange(400) % 40, np.arange(400) % 16
    kinds = [
        Kind("tag", "few titles", titles < 7),
        Kind("tag", "few other titles", titles >= 7),
        Kind("tag", "few viewers", users < 19),
        Kind("tag", "few clicks", np.arange(400) < 49),
        Kind("tag", "everything", np.ones(400, bool)),
    ]
    same = {"users": users, "titles": titles, "clicked": np.ones(400, bool)}
    found = judge_kinds(kinds, **same, abandoned=users < 4, weights=np.ones(400))
    assert found == []


def test_the_block_that_carried_a_score() -> None:
    nan = np.nan
    shares = np.array([[0.9, 0.1, 0.1], [0.8, 0.3, 0.1], [0.7, 0.1, nan], [nan, nan, nan], [0.85, 0.1, 0.1]])
    # the first block is large everywhere: what counts is where it lies above its own mean
    assert carried_by(shares).tolist() == [0, 1, 1, -1, 0]
