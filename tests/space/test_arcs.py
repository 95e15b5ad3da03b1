"""Smoothing and resampling: constants, lines, bounds and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space import Arc, ArcError, resample, resample_every, resample_to, smooth

values = st.floats(-1e6, 1e6)
maybe = st.none() | values
widths = st.floats(0.01, 1e3)


@st.composite
def arcs(draw: st.DrawFn, value: st.SearchStrategy[float | None] = maybe, least: int = 1) -> Arc:
    """Arcs with uneven times and, unless told otherwise, unknown values."""
    steps = draw(st.lists(st.floats(0.01, 100.0), min_size=least, max_size=30))
    times_s = np.cumsum(steps) + draw(st.floats(-1e3, 1e3))
    return Arc.of(times_s, [draw(value) for _ in steps])


@given(arcs(st.none() | st.just(0.7)), widths)
def test_a_constant_stays_constant(arc: Arc, width_s: float) -> None:
    known = arc.known().values
    np.testing.assert_allclose(smooth(arc, width_s).known().values, known, rtol=1e-12)


@given(arcs(), widths)
def test_smoothing_keeps_bounds_times_and_what_is_unknown(arc: Arc, width_s: float) -> None:
    smoothed = smooth(arc, width_s)
    np.testing.assert_array_equal(smoothed.times_s, arc.times_s)
    np.testing.assert_array_equal(np.isnan(smoothed.values), np.isnan(arc.values))
    known = arc.known().values
    if known.size:
        assert known.min() <= np.nanmin(smoothed.values)
        assert np.nanmax(smoothed.values) <= known.max()


@given(arcs(values), st.floats(0.01, 50))
def test_smoothing_is_the_gaussian_mean(arc: Arc, width_s: float) -> None:
    distance = arc.times_s[:, None] - arc.times_s
    weights = np.exp(-0.5 * (distance / width_s) ** 2)
    expected = weights @ arc.values / weights.sum(axis=1)
    np.testing.assert_allclose(
        smooth(arc, width_s).values, expected, atol=1e-6 * (1 + np.abs(arc.values).max())
    )


def test_a_week_of_segments_is_smoothed_in_little_memory() -> None:
    segments = 7 * 24 * 3600 // 8  # all pairs of them would fill 43 GB
    arc = Arc.of(np.arange(segments) * 8.0, np.arange(segments) % 2)
    inner = smooth(arc, 40.0).values[100:-100]
    np.testing.assert_allclose(inner, 0.5, atol=1e-3)


@given(values, st.floats(-100, 100), st.integers(2, 40), arcs(values, least=2))
def test_a_line_resampled_is_the_line(start: float, slope: float, points: int, arc: Arc) -> None:
    line = Arc.of(arc.times_s, start + slope * arc.times_s)
    tolerance = 1e-9 * (1 + np.abs(line.values).max())
    for sampled in (resample_to(line, points), resample_every(line, 0.7)):
        np.testing.assert_allclose(sampled.values, start + slope * sampled.times_s, atol=tolerance)
    assert resample_to(line, points).times_s.size == points


@given(arcs(least=2), st.floats(0.5, 50), st.floats(1, 200))
def test_resampling_keeps_bounds_and_bridges_no_long_gap(arc: Arc, step_s: float, max_gap_s: float) -> None:
    known = arc.known()
    if not known.times_s.size:
        with pytest.raises(ArcError):
            resample_every(arc, step_s, max_gap_s=max_gap_s)
        return
    sampled = resample_every(arc, step_s, max_gap_s=max_gap_s)
    for time_s, value in zip(sampled.times_s, sampled.values, strict=True):
        earlier = known.times_s[known.times_s <= time_s].max()
        later = known.times_s[known.times_s >= time_s].min()
        assert np.isnan(value) == (later - earlier > max_gap_s)
        assert np.isnan(value) or known.values.min() <= value <= known.values.max()


@given(arcs())
def test_resampling_at_the_known_times_gives_the_known_values(arc: Arc) -> None:
    known = arc.known()
    if known.times_s.size:
        at_known = resample(arc, known.times_s, max_gap_s=0.001)
        np.testing.assert_array_equal(at_known.values, known.values)
        outside = resample(arc, [known.times_s[0] - 1, known.times_s[-1] + 1])
        assert np.isnan(outside.values).all()


def test_a_step_reaches_the_last_point_despite_rounding() -> None:
    arc = Arc.of([0.0, 0.3], [1.0, 2.0])
    points = resample_every(arc, 0.1).points()
    np.testing.assert_allclose(points, [(0.0, 1.0), (0.1, 4 / 3), (0.2, 5 / 3), (0.3, 2.0)])


def test_points_leave_out_what_is_unknown() -> None:
    assert Arc.of([0, 8, 16], [0.5, None, float("nan")]).points() == [(0.0, 0.5)]


@pytest.mark.parametrize(
    ("times_s", "given_values"),
    [
        ([0, 1], [1.0]),
        ([1, 0], [1.0, 2.0]),
        ([0, 0], [1.0, 2.0]),
        ([0, float("nan")], [1.0, 2.0]),
        ([0, float("inf")], [1.0, 2.0]),
        ([0, None], [1.0, 2.0]),
        ([0, 1], [1.0, float("inf")]),
        ([0, 1], [1.0, "loud"]),
        ([[0, 1]], [[1.0, 2.0]]),
        (0.0, 1.0),
    ],
)
def test_times_and_values_that_make_no_arc_are_refused(times_s: object, given_values: object) -> None:
    with pytest.raises(ArcError):
        Arc.of(times_s, given_values)  # type: ignore[arg-type]


def test_what_cannot_be_smoothed_or_resampled_is_refused() -> None:
    arc, empty = Arc.of([0.0, 8.0], [1.0, 2.0]), Arc.of([0.0], [None])
    for width_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ArcError):
            smooth(arc, width_s)
        with pytest.raises(ArcError):
            resample_every(arc, width_s)
    for refused in (
        lambda: resample_to(arc, 1),
        lambda: resample_to(empty, 5),
        lambda: resample(empty, [0.0]),
        lambda: resample(arc, [1.0, 0.0]),
    ):
        with pytest.raises(ArcError):
            refused()
    assert smooth(empty, 4.0).points() == []
