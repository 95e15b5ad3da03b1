"""Shapes: what of a curve counts, and curves that people draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resonance.clients.discovery.arc_shapes import POINTS, SHAPES, drawn_shape, named_shape, shape_of
from resonance.clients.errors import UsageError

curves = hnp.arrays(np.float64, POINTS, elements=st.floats(0, 1))


@pytest.mark.parametrize("name", SHAPES)
def test_a_named_shape_has_no_level_and_one_spread(name: str) -> None:
    shape = named_shape(name)
    assert shape.shape == (POINTS,)
    assert shape.mean() == pytest.approx(0, abs=1e-12)
    assert shape.std() == pytest.approx(0 if name == "steady" else 1)


def test_named_shapes_are_what_their_names_say() -> None:
    rise, comeback, burn = (named_shape(name) for name in ("rise", "comeback", "slow-burn"))
    assert (np.diff(rise) > 0).all()
    np.testing.assert_allclose(named_shape("fall"), -rise, atol=1e-12)
    np.testing.assert_allclose(named_shape("peak"), -comeback, atol=1e-12)
    assert comeback.argmin() in (31, 32)
    assert np.flatnonzero(np.diff(burn) > 1e-9)[0] == pytest.approx(0.6 * (POINTS - 1), abs=1)
    np.testing.assert_allclose(named_shape("early-shock"), burn[::-1], atol=1e-12)
    with pytest.raises(UsageError, match=r"'climb'.*rise, fall"):
        named_shape("climb")


@given(curves, st.floats(0.1, 10), st.floats(-5, 5))
def test_level_and_spread_of_a_curve_do_not_count(curve: np.ndarray, spread: float, level: float) -> None:
    if curve.std() < 1e-3:  # so near to standing still that the level's rounding shows
        return
    np.testing.assert_allclose(shape_of(curve), shape_of(spread * curve + level), atol=1e-9)


@given(curves)
def test_a_floor_shrinks_what_hardly_moves_and_leaves_the_rest(curve: np.ndarray) -> None:
    shape = shape_of(curve, hardly_moves=0.05)
    spread = curve.std()
    assert shape.std() == pytest.approx(spread / np.hypot(spread, 0.05) if spread > 1e-9 else 0, abs=1e-9)


def test_what_stands_still_is_zero_and_not_rounding_blown_up() -> None:
    assert not shape_of(np.full((2, POINTS), 0.1)).any()


@pytest.mark.parametrize("text", ["0,1", "0.4,0.6", "-3, 12", "0,0.5,1", "10,20,30,40"])
def test_values_are_at_equal_steps_and_only_relative_heights_count(text: str) -> None:
    np.testing.assert_allclose(drawn_shape(text), named_shape("rise"), atol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "0,0\n6,0\n10,1\n",
        "time,value\n0,0\n6,0\n10,1\n",
        "\ufefftime,value\r\n100,7\r\n\r\n160,7\r\n200,9\r\n",
    ],
    ids=["plain", "heading", "as a spreadsheet writes it"],
)
def test_a_file_has_times_of_its_own(text: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_bytes(text.encode())
    np.testing.assert_allclose(drawn_shape(str(path)), named_shape("slow-burn"), atol=1e-9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0.5", "1 values; expected at least 2"),
        ("0,nan,1", "all finite"),
        ("0,inf", "all finite"),
        ("0,,1", r"expected numbers such as 0,0\.2,0\.9, or a CSV file"),
        ("gone.csv", r"gone\.csv: .*No such file.*CSV file of time,value"),
    ],
)
def test_what_is_no_curve_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        drawn_shape(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("time,value\n0,0\n1,high\n", r"row 3: '1,high'; expected time,value"),
        ("0,0,0\n1,1,1\n", r"row 2: '1,1,1'; expected time,value"),
        ("0,0\n5,1\n5,2\n", "times are not finite or do not rise"),
        ("time,value\n", "0 values; expected at least 2"),
        ("0,0\n1,nan\n", "all finite"),
    ],
)
def test_a_file_that_holds_no_curve_is_refused_by_its_row(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        drawn_shape(str(path))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="CSV file of time,value"):
        drawn_shape(str(path))


def test_only_the_relative_heights_of_a_drawn_curve_count() -> None:
    expected = drawn_shape("0,1,3,2")
    np.testing.assert_allclose(drawn_shape("1e10,10000000001,10000000003,10000000002"), expected, atol=1e-5)
    np.testing.assert_allclose(drawn_shape("-3,-2,0,-1"), expected, atol=1e-9)
    assert not drawn_shape("0.3,0.30000000000000004,0.3").any()


@pytest.mark.parametrize("unit", [1e-300, 1e-12, 1e-3, 1e6, 1e200, 1e308])
def test_a_drawn_curve_is_in_any_unit(unit: float, tmp_path: Path) -> None:
    heights = [0.2 * unit, 0.25 * unit, 1.0 * unit, 0.1 * unit]
    expected = drawn_shape("0.2,0.25,1,0.1")
    assert expected.std() == pytest.approx(1)
    np.testing.assert_allclose(drawn_shape(",".join(map(repr, heights))), expected, atol=1e-9)
    path = tmp_path / "curve.csv"
    path.write_text("".join(f"{at},{height!r}\n" for at, height in enumerate(heights)))
    np.testing.assert_allclose(drawn_shape(str(path)), expected, atol=1e-9)
