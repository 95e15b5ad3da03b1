"""Arcs and their picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from resonance.clients.arcs import ARCS, make_arcs
from resonance.clients.plot import plot_arcs
from tests.clients.test_output import result

CALM = {
    "loudness_dbfs": -45.0,
    "motion": 0.05,
    "onset_rate_hz": 0.2,
    "cut_rate_per_min": 2.0,
    "brightness": 0.7,
}
STORM = {
    "loudness_dbfs": -12.0,
    "motion": 0.9,
    "onset_rate_hz": 5.0,
    "cut_rate_per_min": 55.0,
    "brightness": 0.1,
}


def test_a_storm_rises_in_pace_and_energy_and_falls_in_brightness() -> None:
    arcs = make_arcs([(4, CALM), (12, CALM), (20, STORM), (28, STORM)])
    assert set(arcs) == set(ARCS) == {"pacing", "energy", "brightness"}
    for name, rises in (("pacing", True), ("energy", True), ("brightness", False)):
        first, *_, last = (value for _, value in arcs[name])
        assert (last > first) is rises
        assert abs(last - first) > 0.3


def test_unknown_signals_do_not_count_and_unknown_arcs_have_no_point() -> None:
    arcs = make_arcs([(4, {"brightness": 0.5, "motion": None}), (12, {"loudness_dbfs": -30.0})])
    assert arcs["brightness"] == [(4, 0.5)]
    assert [t for t, _ in arcs["energy"]] == [12]
    assert arcs["pacing"] == []
    assert make_arcs([]) == {name: [] for name in ARCS}


def test_values_outside_a_range_stay_in_0_to_1() -> None:
    wild = {"loudness_dbfs": 20.0, "cut_rate_per_min": 0.0, "spectral_centroid_hz": 1e6, "brightness": 2.0}
    for points in make_arcs([(1, wild)]).values():
        assert all(0 <= value <= 1 for _, value in points)


@pytest.mark.parametrize("titles", [1, 3])
def test_arcs_are_drawn(titles: int, tmp_path: Path) -> None:
    path = tmp_path / "arcs.png"
    plot_arcs([result(f"{i}.mp4") for i in range(titles)], path)
    with Image.open(path) as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 3  # more than an empty frame
