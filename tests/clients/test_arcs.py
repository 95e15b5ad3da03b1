"""Arcs of titles: stated ranges, unknown signals left out, always between 0 and 1."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.arcs import ARCS, GAP_S, Part, make_arcs, runs_of
from resonance.space import ArcError

CALM = {
    "cut_rate_per_min": 0.0,
    "motion": 0.0,
    "brightness": 0.0,
    "colourfulness": 10.0,
    "loudness_dbfs": -90.0,
    "spectral_centroid_hz": 100.0,
    "onset_rate_hz": 0.0,
    "words_per_second": 0.0,
}
INTENSE = {
    "cut_rate_per_min": 90.0,
    "motion": 1.0,
    "brightness": 1.0,
    "colourfulness": 100.0,
    "loudness_dbfs": -3.0,
    "spectral_centroid_hz": 9000.0,
    "onset_rate_hz": 12.0,
    "words_per_second": 6.0,
}

signals = st.dictionaries(
    st.sampled_from(sorted(CALM)), st.none() | st.floats(allow_nan=True, allow_infinity=True)
)


@given(st.lists(signals, max_size=20))
def test_arcs_lie_between_0_and_1_where_something_is_known(rows: list[dict[str, float | None]]) -> None:
    arcs = make_arcs([(4.0 + 8 * i, row) for i, row in enumerate(rows)])
    assert set(arcs) == {"pacing", "energy", "brightness"}
    for name, points in arcs.items():
        known = [
            4.0 + 8 * i
            for i, row in enumerate(rows)
            if any((v := row.get(part.signal)) is not None and not math.isnan(v) for part in ARCS[name])
        ]
        assert [time_s for time_s, _ in points] == known
        assert all(0 <= value <= 1 for _, value in points)


def test_ends_of_the_ranges_are_0_and_1() -> None:
    for row, expected in ((CALM, 0.0), (INTENSE, 1.0)):
        for points in make_arcs([(4.0, row), (12.0, row)]).values():
            assert [value for _, value in points] == pytest.approx([expected, expected])


@pytest.mark.parametrize("part", [part for parts in ARCS.values() for part in parts], ids=lambda p: p.signal)
def test_more_of_a_signal_never_lowers_its_arc(part: Part) -> None:
    levels = [part.level(part.low + (part.high - part.low) * share) for share in (-0.5, 0, 0.3, 0.7, 1, 2)]
    assert levels == sorted(levels)
    assert (levels[1], levels[4]) == (0.0, 1.0)


def test_an_unknown_signal_is_left_out_of_the_mean_and_not_taken_as_calm() -> None:
    ((_, without),) = make_arcs([(4.0, {**INTENSE, "motion": None})])["pacing"]
    assert without == 1.0
    ((_, alone),) = make_arcs([(4.0, {"words_per_second": 2.0})])["pacing"]
    assert alone == pytest.approx(0.5)


def test_cuts_are_felt_in_ratios_and_count_twice() -> None:
    ((_, cuts),) = make_arcs([(4.0, {"cut_rate_per_min": math.sqrt(60)})])["pacing"]
    assert cuts == pytest.approx(0.5)
    ((_, both),) = make_arcs([(4.0, {"cut_rate_per_min": 60.0, "motion": 0.0})])["pacing"]
    assert both == pytest.approx(2 / 3)


def test_a_comeback_is_seen() -> None:
    story = [CALM, CALM, INTENSE, INTENSE, CALM, CALM, INTENSE]
    values = [v for _, v in make_arcs([(4.0 + 8 * i, row) for i, row in enumerate(story)])["energy"]]
    assert values[0] < 0.15 < values[2]
    assert values[4] < values[3]
    assert values[6] > 0.8
    assert len(values) == len(story)


def test_no_segments_have_no_points_and_times_must_rise() -> None:
    assert make_arcs([]) == {"pacing": [], "energy": [], "brightness": []}
    with pytest.raises(ArcError):
        make_arcs([(12.0, CALM), (4.0, CALM)])


def test_points_are_joined_where_nothing_is_missing_between() -> None:
    first, second = [(4.0, 0.1), (4.0 + GAP_S, 0.2)], [(4.1 + 2 * GAP_S, 0.3)]
    assert runs_of([*first, *second]) == [first, second]
    assert runs_of([]) == []
