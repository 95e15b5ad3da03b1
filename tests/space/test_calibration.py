"""Sigmas and axes over a reference set: what they are by definition, and what cannot be calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from resonance.space import (
    BLOCK_WIDTH,
    MODALITIES,
    CalibrationError,
    Reference,
    calibrate_axis,
    end_of_axis,
    sigmas,
    unit,
)
from resonance.space.calibration import SPREAD_FLOOR
from resonance.space.reference import FEWEST_BLOCKS
from tests.space.strategies import random_blocks, random_reference, seeds


def brute_sigma(reference: Reference, a: int, b: int) -> float:
    """The definition, pair by pair."""
    blocks = unit(reference.blocks.astype(np.float64))
    cosines = [
        blocks[i, a] @ blocks[j, b]
        for i in range(len(blocks))
        for j in range(len(blocks))
        if i != j and reference.present[i, a] and reference.present[j, b]
    ]
    return float(np.std(cosines))


@settings(max_examples=10)
@given(seeds)
def test_a_sigma_is_the_spread_over_pairs_of_different_segments(seed: int) -> None:
    reference = random_reference(seed, 60, gap=1.5, absent=0.3)
    found = sigmas(reference)
    for a, query in enumerate(MODALITIES):
        for b, block in enumerate(MODALITIES):
            assert found[query][block] == pytest.approx(brute_sigma(reference, a, b), rel=1e-6)


def test_sigmas_tell_narrow_modalities_from_wide_ones() -> None:
    reference = random_reference(1, 200, gap=0.0)
    blocks = reference.blocks.copy()
    cone = np.zeros(BLOCK_WIDTH)
    cone[0] = 3.0
    blocks[:, 1] = unit(blocks[:, 1] + cone)  # sound huddles around one direction
    found = sigmas(Reference(blocks, reference.present))
    assert found["visual"]["visual"] == pytest.approx(BLOCK_WIDTH**-0.5, rel=0.05)
    assert found["audio"]["audio"] < 0.5 * found["visual"]["visual"]
    assert found["visual"]["audio"] == pytest.approx(found["audio"]["visual"])


def test_a_collapsed_modality_is_not_blown_up() -> None:
    reference = random_reference(2, 100)
    blocks = reference.blocks.copy()
    blocks[:, 2] = blocks[0, 2]
    reference = Reference(blocks, reference.present)
    assert sigmas(reference)["transcript"]["transcript"] == SPREAD_FLOOR
    low, high = random_blocks(3)[:2]
    axis = calibrate_axis(low, high, reference, low_prompts=["a"], high_prompts=["b"])
    assert axis.spread["transcript"] == pytest.approx(SPREAD_FLOOR * np.linalg.norm(axis.direction))


def test_an_absent_block_is_never_read() -> None:
    reference = random_reference(4, 80, absent=0.4)
    blocks = reference.blocks.copy()
    blocks[~reference.present] = np.nan
    holes = Reference(blocks, reference.present)
    assert sigmas(holes) == sigmas(reference)
    low, high = random_blocks(5)[:2]
    words = {"low_prompts": ("a",), "high_prompts": ("b",)}
    assert calibrate_axis(low, high, holes, **words) == calibrate_axis(low, high, reference, **words)


def test_half_precision_says_the_same() -> None:
    reference = random_reference(6, 100)
    half = Reference(reference.blocks.astype(np.float16), reference.present)
    for query, row in sigmas(reference).items():
        assert sigmas(half)[query] == pytest.approx(row, rel=1e-3)


def test_an_axis_is_the_difference_of_its_ends_and_knows_its_middle() -> None:
    reference = random_reference(7, 300, gap=1.0)
    low, high = random_blocks(8)[:2]
    axis = calibrate_axis(5 * low, high / 3, reference, low_prompts=["a", "b"], high_prompts=["c"])
    direction = np.array(axis.direction)
    np.testing.assert_allclose(direction, high - low, atol=1e-7)
    assert (axis.low, axis.high) == (("a", "b"), ("c",))
    for m, modality in enumerate(MODALITIES):
        projections = reference.blocks[:, m] @ direction
        assert axis.mean[modality] == pytest.approx(projections.mean(), rel=1e-5)
        assert axis.spread[modality] == pytest.approx(projections.std(), rel=1e-5)


def test_calibrated_numbers_have_7_digits() -> None:
    low, high = random_blocks(9)[:2]
    axis = calibrate_axis(low, high, random_reference(9, 40), low_prompts=["a"], high_prompts=["b"])
    for number in (*axis.direction, *axis.mean.values(), *axis.spread.values()):
        assert number == float(f"{number:.7g}")


def test_an_end_is_the_unit_mean_of_its_prompts() -> None:
    a, b = random_blocks(10)[:2]
    np.testing.assert_allclose(end_of_axis([a, b]), unit(a + b))
    np.testing.assert_allclose(end_of_axis([7 * a, b / 2]), unit(a + b))  # each counts once
    np.testing.assert_allclose(end_of_axis([a]), a)
    for wrong in (np.zeros((0, BLOCK_WIDTH)), a, np.ones((2, 3))):
        with pytest.raises(CalibrationError, match="596"):
            end_of_axis(wrong)
    with pytest.raises(CalibrationError, match="cancel"):
        end_of_axis([a, -a])


def test_ends_in_the_same_place_are_no_axis() -> None:
    end = random_blocks(11)[0]
    with pytest.raises(CalibrationError, match="same place"):
        calibrate_axis(end, 2 * end, random_reference(11, 40), low_prompts=["a"], high_prompts=["b"])


GOOD = random_reference(12, 40)


@pytest.mark.parametrize(
    ("blocks", "present", "message"),
    [
        (GOOD.blocks[..., :512], GOOD.present, r"\(40, 3, 512\); expected floats of \(40, 3, 596\)"),
        (GOOD.blocks[:30], GOOD.present, r"expected floats of \(40, 3, 596\)"),
        ((GOOD.blocks * 99).astype(np.int8), GOOD.present, "int8"),
        (GOOD.blocks, GOOD.present.astype(np.int64), "present is int64"),
        (GOOD.blocks, GOOD.present[:, :2], r"present is bool of shape \(40, 2\)"),
        (GOOD.blocks, np.array(True), r"expected floats of \(0, 3, 596\)"),
        (GOOD.blocks, GOOD.present & [True, False, True], f"0 audio blocks .* at least {FEWEST_BLOCKS}"),
        (GOOD.blocks * 2, GOOD.present, "visual block has norm 2; expected 1"),
        (GOOD.blocks * 0, GOOD.present, "norm 0; expected 1"),
        (GOOD.blocks * np.nan, GOOD.present, "norm nan; expected 1"),
    ],
    ids=["width", "rows", "integers", "numbers", "two", "scalar", "silent", "long", "zero", "nan"],
)
def test_arrays_that_are_no_reference_are_refused(
    blocks: np.ndarray, present: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match=message):
        Reference(blocks, present)
    np.savez(tmp_path / "bad.npz", blocks=blocks, present=present)
    with pytest.raises(CalibrationError, match=rf"bad\.npz: .*{message}"):
        Reference.load(tmp_path / "bad.npz")


def test_a_reference_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    np.savez_compressed(path, blocks=GOOD.blocks, present=GOOD.present)
    read = Reference.load(path)
    np.testing.assert_array_equal(read.blocks, GOOD.blocks)
    np.testing.assert_array_equal(read.present, GOOD.present)


def test_files_that_are_no_reference_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"gone\.npz: cannot be read"):
        Reference.load(tmp_path / "gone.npz")
    np.savez(tmp_path / "half.npz", blocks=GOOD.blocks)
    with pytest.raises(CalibrationError, match=r"half\.npz: .*present"):
        Reference.load(tmp_path / "half.npz")
    np.save(tmp_path / "one.npy", GOOD.blocks)
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "torn.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:500])
    np.savez(tmp_path / "objects.npz", blocks=np.array([{}], object), present=GOOD.present)
    for name in ("one.npy", "text.npz", "empty.npz", "torn.npz", "objects.npz"):
        with pytest.raises(CalibrationError, match=name):
            Reference.load(tmp_path / name)
