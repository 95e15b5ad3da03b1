"""Smoothing and resampling keep what they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space.arcs import Arc, resample, resample_to, smooth
from resonance.space.errors import ArcError

values = st.lists(st.one_of(st.none(), st.floats(-100, 100)), min_size=1, max_size=30)


def arc(numbers: list[float | None], spacing_s: float = 8.0) -> Arc:
    return Arc.of(np.arange(len(numbers)) * spacing_s, numbers)


@given(values, st.floats(0.01, 1000))
def test_smoothing_keeps_bounds_and_what_is_unknown(numbers: list[float | None], width_s: float) -> None:
    given_arc = arc(numbers)
    smoothed = smooth(given_arc, width_s)
    np.testing.assert_array_equal(np.isnan(smoothed.values), np.isnan(given_arc.values))
    known = [n for n in numbers if n is not None]
    if known:
        assert np.nanmin(smoothed.values) >= min(known)
        assert np.nanmax(smoothed.values) <= max(known)


@given(st.floats(-10, 10), st.integers(1, 20), st.floats(0.1, 100))
def test_a_constant_stays(value: float, length: int, width_s: float) -> None:
    np.testing.assert_allclose(smooth(arc([value] * length), width_s).values, value)


def test_a_narrow_width_changes_nothing_and_a_wide_one_gives_the_mean() -> None:
    given_arc = arc([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(smooth(given_arc, 0.1).values, given_arc.values, atol=1e-9)
    np.testing.assert_allclose(smooth(given_arc, 1e6).values, 0.5, atol=1e-6)


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(2, 20), st.integers(2, 50))
def test_a_line_resampled_is_the_line(slope: float, start: float, length: int, points: int) -> None:
    line = arc([start + slope * 8 * i for i in range(length)])
    resampled = resample_to(line, points)
    assert resampled.times_s.size == points
    np.testing.assert_allclose(resampled.values, start + slope * resampled.times_s, atol=1e-9)


def test_nothing_is_told_outside_or_across_long_gaps() -> None:
    given_arc = Arc.of([0, 8, 100, 108], [0.0, 1.0, 2.0, 3.0])
    out = resample(given_arc, [-1, 0, 4, 8, 50, 100, 104, 109], max_gap_s=20)
    np.testing.assert_array_equal(np.isnan(out.values), [True, False, False, False, True, False, False, True])
    assert out.points() == [(0, 0), (4, 0.5), (8, 1), (100, 2), (104, 2.5)]
    assert resample(given_arc, [50]).values[0] == pytest.approx(1 + 42 / 92)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Arc.of([0, 1], [1.0]),
        lambda: Arc.of([1, 0], [1.0, 2.0]),
        lambda: Arc.of([0, 0], [1.0, 2.0]),
        lambda: Arc.of([0, np.nan], [1.0, 2.0]),
        lambda: Arc.of([0, 1], [1.0, np.inf]),
        lambda: smooth(arc([1.0]), 0),
        lambda: smooth(arc([1.0]), np.nan),
        lambda: resample(arc([None]), [0]),
        lambda: resample_to(arc([1.0, None]), 5),
        lambda: resample_to(arc([1.0, 2.0]), 1),
    ],
)
def test_what_cannot_be_an_arc_is_refused(make: object) -> None:
    with pytest.raises(ArcError):
        make()  # type: ignore[operator]
