"""Exact tests against libraries that know them, intervals by what they promise, corrections by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resonance.clients.audit import representation
from resonance.clients.audit.bias_plots import plot_surest
from resonance.clients.audit.representation import (
    Against,
    Cell,
    Correction,
    adjust,
    clopper_pearson,
    hypergeometric_p,
    judge,
    least_found,
    p_values,
    power,
    usual_range,
)


def cell(count: int, size: int, **more: object) -> Cell:
    return Cell("cluster", "cluster 1", "language", "de", count, size, **more)  # type: ignore[arg-type]


def test_against_a_finite_library_by_counting_draws() -> None:
    """3 of 5 titles are of the group; of two drawn both are: 3 of the 10 pairs."""
    (p,) = p_values([cell(2, 2, of_count=3, of_size=5)])
    assert p == pytest.approx(2 * 3 / 10)
    (p,) = p_values([cell(0, 2, of_count=3, of_size=5)])
    assert p == pytest.approx(2 * 1 / 10)


def test_a_place_that_is_all_of_the_library_never_deviates() -> None:
    (one,) = judge([cell(3, 5, of_count=3, of_size=5)])
    assert one.p == 1
    assert not one.alert


def test_against_a_target_as_the_binomial_has_it() -> None:
    (p,) = p_values([cell(9, 12, against=Against.TARGET, target=0.3)])
    assert p == pytest.approx(2 * stats.binomtest(9, 12, 0.3, alternative="greater").pvalue)


def test_against_another_sample_as_fisher_has_it() -> None:
    (p,) = p_values([cell(12, 20, against=Against.OTHER, of_count=5, of_size=25)])
    assert p == pytest.approx(2 * stats.fisher_exact([[12, 8], [5, 20]], alternative="greater").pvalue)


@pytest.mark.parametrize(("count", "size"), [(0, 10), (10, 10), (3, 17), (60, 200)])
def test_intervals_as_scipy_has_them(count: int, size: int) -> None:
    low, high = clopper_pearson(np.array([count]), np.array([size]))
    expected = stats.binomtest(count, size).proportion_ci(method="exact")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))


def test_corrections_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5])
    assert adjust(p, Correction.HOLM) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert adjust(p, Correction.BH) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5])


def test_many_tests_take_an_alert_away() -> None:
    strange, fair = cell(60, 200, of_count=400, of_size=2000), cell(40, 200, of_count=400, of_size=2000)
    assert judge([strange])[0].alert
    for correction in Correction:
        found = judge([strange] + 999 * [fair], correction=correction)
        assert not found[0].alert
        assert found[0].adjusted_p > found[0].p


def test_what_is_sure_but_small_is_no_alert() -> None:
    sure = cell(2100, 10_000, of_count=40_000, of_size=200_000)
    assert judge([sure])[0].alert
    assert not judge([sure], least_deviation=0.02)[0].alert


def test_both_directions_are_told() -> None:
    over, under = judge([cell(80, 200, of_count=400, of_size=2000), cell(5, 200, of_count=400, of_size=2000)])
    assert over.alert
    assert under.alert
    assert over.deviation == pytest.approx(0.2)
    assert under.deviation == pytest.approx(-0.175)


def test_what_cannot_deviate() -> None:
    assert not cell(0, 20, of_count=0, of_size=100).can_deviate
    assert not cell(20, 20, of_count=100, of_size=100).can_deviate
    assert not cell(0, 20, against=Against.OTHER, of_count=0, of_size=100).can_deviate
    assert cell(0, 20, against=Against.TARGET, target=0.1).can_deviate
    assert cell(1, 20, of_count=3, of_size=100).can_deviate


def test_chance_stays_in_its_range() -> None:
    one = cell(40, 200, of_count=400, of_size=2000)
    low, high = usual_range(one)
    draws = np.random.default_rng(0).hypergeometric(400, 1600, 200, 4000) / 200
    assert 0.94 < ((draws >= low) & (draws <= high)).mean() <= 1
    assert low < 0.2 < high


def test_power_as_it_is_drawn() -> None:
    """Drawn and tested again, not by the sum that is asked for."""
    chance = np.random.default_rng(1)
    planted = chance.binomial(200, 0.3, 2000)
    cells = [cell(int(k), 200, of_count=360 + int(k), of_size=2000) for k in planted]
    drawn = float((p_values(cells) <= 0.05 / 10).mean())
    assert power(0.2, 0.1, size=200, total=2000, tests=10) == pytest.approx(drawn, abs=0.04)
    assert power(0.2, 0.1, size=200, total=2000, tests=1000) < 0.3


@pytest.mark.parametrize("excess", [0.0, 0.02, 0.7])
def test_power_of_large_places_is_the_sum_over_all_counts(
    excess: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And looks at a few of them: a place of a million titles has a million counts."""
    base, size, total, tests = 0.3, 4000, 9000, 20
    counts = np.arange(size + 1)
    marked = round((total - size) * base) + counts
    p = hypergeometric_p(counts, np.full_like(counts, size), marked, np.full_like(counts, total))
    law = stats.binom(size, min(base + excess, 1.0))
    whole = law.pmf(counts)[(p <= 0.05 / tests) & (counts / size > base)].sum()
    looked: list[int] = []

    def told(count: np.ndarray, *more: np.ndarray) -> np.ndarray:
        looked.append(len(count))
        return hypergeometric_p(count, *more)

    monkeypatch.setattr(representation, "hypergeometric_p", told)
    assert power(base, excess, size=size, total=total, tests=tests) == pytest.approx(whole, abs=1e-8)
    assert looked[0] < 15 * size**0.5


def test_rarer_groups_and_fewer_tests_see_more() -> None:
    few = least_found(0.1, size=200, total=2000, tests=10)
    many = least_found(0.1, size=200, total=2000, tests=1000)
    common = least_found(0.3, size=200, total=2000, tests=10)
    assert few is not None
    assert many is not None
    assert common is not None
    assert few < many
    assert few < common
    assert least_found(0.5, size=2, total=2000, tests=10) is None


def test_groups_of_one_name_are_told_apart_by_their_grouping() -> None:
    cells = [
        Cell("cluster", "cluster 1", dimension, "de", 30, 40, of_count=60, of_size=400)
        for dimension in ("language", "attribute:country")
    ]
    (axes,) = plot_surest(judge(cells)).axes
    names = {label.get_text() for label in axes.get_yticklabels()}
    assert names == {"cluster 1: language=de", "cluster 1: attribute:country=de"}
