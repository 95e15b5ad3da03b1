"""Simulated viewers: what they are said to like can be found again, and what was said of them is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.training.world.factors import TitleFactors, draw_title
from resonance.training.world.viewers import (
    FEEL_SHARES,
    TASTE_FOR_FEEL,
    TASTE_FOR_TAGS,
    Taste,
    Viewers,
    describe,
    draw_viewers,
)
from resonance.training.world.viewers_choosing import (
    Choosing,
    choose,
    draw_releases,
    mean_completion,
)
from resonance.training.world.viewers_shown import Showing, show

TITLES, VIEWERS = 400, 300
NAMES = tuple(f"title {at}" for at in range(TITLES))


@pytest.fixture(scope="module")
def titles() -> list[TitleFactors]:
    rng = np.random.Generator(np.random.PCG64(1))
    return [draw_title(rng, held_out=True) for _ in range(TITLES)]


@pytest.fixture(scope="module")
def viewers(titles: list[TitleFactors]) -> Viewers:
    return draw_viewers(titles, VIEWERS, TASTE_FOR_FEEL, seed=5)


@pytest.fixture(scope="module")
def log(viewers: Viewers) -> ViewingLog:
    return chosen(viewers, Choosing(), seed=5)


def chosen(viewers: Viewers, settings: Choosing, seed: int) -> ViewingLog:
    return choose(viewers, draw_releases(TITLES, settings, seed=seed), NAMES, settings, seed=seed)


def explained(affinity: NDArray[np.float32], columns: NDArray[np.float32]) -> float:
    """Mean over viewers of the share of affinity's variance that a linear fit on the columns has."""
    fitted = columns @ np.linalg.lstsq(columns, affinity.T, rcond=None)[0]  # (N, U)
    return float((fitted**2).mean())


@pytest.mark.parametrize("taste", [TASTE_FOR_FEEL, TASTE_FOR_TAGS, Taste(feel=0.5, tags=0.3)])
def test_each_share_of_taste_is_what_it_says(titles: list[TitleFactors], taste: Taste) -> None:
    affinity = draw_viewers(titles, VIEWERS, taste, seed=2).affinity
    described = describe(titles)
    feel = np.concatenate([described[name] for name in FEEL_SHARES], axis=1)
    # of 400 titles, 68 columns explain by chance that share of what they have no part in
    by_chance = np.linalg.matrix_rank(feel) / TITLES
    expected = taste.feel + by_chance * (1 - taste.feel)
    assert explained(affinity, feel) == pytest.approx(expected, abs=0.05)
    assert explained(affinity, described["genre"]) == pytest.approx(taste.tags, abs=0.05)
    assert sum(taste.shares.values()) == pytest.approx(1)


def test_affinity_of_each_viewer_is_standardised(viewers: Viewers) -> None:
    assert viewers.affinity.shape == (VIEWERS, TITLES)
    np.testing.assert_allclose(viewers.affinity.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(viewers.affinity.std(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("bad", [{"feel": 0.8, "tags": 0.3}, {"feel": -0.1}, {"feel": 0.5, "tags": -0.1}])
def test_shares_that_are_none_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected shares"):
        Taste(**bad)


def test_titles_among_which_taste_cannot_choose_are_refused(titles: list[TitleFactors]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        draw_viewers(titles[:1], 3, TASTE_FOR_FEEL, seed=0)
    with pytest.raises(ValueError, match="all titles are alike in genre"):
        draw_viewers([replace(title, genre=1) for title in titles], 3, TASTE_FOR_TAGS, seed=0)


def test_the_same_seed_gives_the_same_log_and_another_does_not(viewers: Viewers, log: ViewingLog) -> None:
    again, other = (chosen(viewers, Choosing(), seed) for seed in (5, 6))
    for name in ("users", "titles", "at_s", "completion"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))
    assert len(other.titles) != len(again.titles) or (other.titles != again.titles).any()


@pytest.mark.parametrize(
    ("taste", "of_it", "not_of_it"),
    [(TASTE_FOR_FEEL, tuple(FEEL_SHARES), ("genre",)), (TASTE_FOR_TAGS, ("genre",), tuple(FEEL_SHARES))],
)
def test_taste_is_found_again_in_what_was_watched(
    titles: list[TitleFactors], taste: Taste, of_it: tuple[str, ...], not_of_it: tuple[str, ...]
) -> None:
    """A guess from the history alone follows affinity where it looks at what is liked, and not elsewhere."""
    viewers = draw_viewers(titles, VIEWERS, taste, seed=3)
    log = chosen(viewers, Choosing(viewings=60, taste_weight=1.5), seed=3)
    watched = np.zeros((VIEWERS, TITLES), np.float32)
    watched[log.users, log.titles] = 1
    described = describe(titles)

    def followed(groups: tuple[str, ...]) -> float:
        x = np.concatenate([described[name] / described[name].std() for name in groups], axis=1)
        guess = np.where(watched == 1, np.nan, watched @ x @ x.T)  # of titles never watched
        unseen = [~np.isnan(row) for row in guess]
        pairs = zip(guess, viewers.affinity, unseen, strict=True)
        return float(np.mean([np.corrcoef(g[u], a[u])[0, 1] for g, a, u in pairs]))

    assert followed(of_it) > 0.5
    assert abs(followed(not_of_it)) < 0.1


def test_nothing_is_watched_twice_or_before_it_is_out(log: ViewingLog) -> None:
    assert len(np.unique(log.users * TITLES + log.titles)) == len(log.titles)
    released_s = draw_releases(TITLES, Choosing(), seed=5).released_s
    assert (log.at_s >= released_s[log.titles]).all()
    assert (np.diff(log.at_s) >= 0).all()
    weeks = (released_s[released_s >= Choosing().start_s] - Choosing().start_s) / 604_800
    assert len(weeks) == round(0.4 * TITLES)
    assert set(weeks) == set(range(1, 26))
    assert len(log.titles) / VIEWERS == pytest.approx(40, rel=0.1)


def test_popularity_feeds_itself_and_leaves_a_long_tail(viewers: Viewers) -> None:
    def top_tenth(popularity: float) -> float:
        """Share of the viewings that the most watched tenth of the titles has."""
        settings = Choosing(popularity=popularity, appeal=0.2, new_share=0.0)
        counts = np.bincount(chosen(viewers, settings, seed=4).titles, minlength=TITLES)
        return float(np.sort(counts)[-TITLES // 10 :].sum() / counts.sum())

    none, some, all_of_it = (top_tenth(popularity) for popularity in (0.0, 0.6, 1.2))
    assert none < 0.25
    assert none + 0.03 < some < all_of_it - 0.05


def test_completion_has_the_mean_that_liking_gives_it(viewers: Viewers, log: ViewingLog) -> None:
    liked = viewers.affinity[log.users, log.titles]
    for low, high in ((-9.0, 0.0), (0.0, 1.0), (1.0, 9.0)):
        here = (liked >= low) & (liked < high)
        assert log.completion[here].mean() == pytest.approx(mean_completion(liked[here]).mean(), abs=0.02)


def test_propensities_are_what_they_are_said_to_be(viewers: Viewers) -> None:
    settings = Showing(sessions=40, position_bias=0.7)
    shown = show(viewers, viewers.affinity, NAMES, settings, seed=1)
    recommended = shown.log.recommended
    assert recommended is not None
    for position, chance in enumerate(settings.propensities(), start=1):
        here = recommended.position == position
        assert (recommended.propensity[here] == np.float32(chance)).all()
        seen = recommended.clicked[here].mean() / shown.click[here].mean()
        assert seen == pytest.approx(chance, rel=0.08)


def test_impressions_of_a_list_are_of_one_moment_and_no_title_twice(viewers: Viewers) -> None:
    log = show(viewers, viewers.affinity, NAMES, Showing(sessions=2), seed=1).log
    assert log.recommended is not None
    lists = log.titles.reshape(-1, 10)
    assert all(len(set(row)) == 10 for row in lists.tolist())
    assert (log.recommended.position.reshape(-1, 10) == np.arange(1, 11)).all()
    assert (log.at_s.reshape(-1, 10) == log.at_s.reshape(-1, 10)[:, :1]).all()
    assert (log.users.reshape(-1, 10) == log.users.reshape(-1, 10)[:, :1]).all()
    unclicked = ~log.recommended.clicked
    assert (log.completion[unclicked] == 0).all()
    assert (log.recommended.watch_s[unclicked] == 0).all()


def test_a_promise_is_clicked_and_abandoned(viewers: Viewers) -> None:
    promise = np.where(np.arange(TITLES) < TITLES // 4, 2.0, 0.0).astype(np.float32)
    scores = np.random.default_rng(0).standard_normal((VIEWERS, TITLES)).astype(np.float32)
    log = show(viewers, scores, NAMES, Showing(sessions=20), seed=1, promise=promise).log
    assert log.recommended is not None
    clicked, loud = log.recommended.clicked, log.titles < TITLES // 4
    assert clicked[loud].mean() > 1.8 * clicked[~loud].mean()
    assert log.completion[clicked & loud].mean() < log.completion[clicked & ~loud].mean() - 0.04


def test_lists_longer_than_what_they_are_made_of_are_refused(viewers: Viewers) -> None:
    for settings in (Showing(positions=11, considered=10), Showing(considered=TITLES + 1)):
        with pytest.raises(ValueError, match="expected at most as many positions"):
            show(viewers, viewers.affinity, NAMES, settings, seed=0)
