"""Values on axes: calibrated, monotone, of present blocks alone."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space import MODALITIES, Axis, AxisMeter, BlockError, Reference, calibrate_axis, join, unit
from tests.space.strategies import make_axis, presences, random_blocks, random_reference, seeds

REFERENCE = random_reference(0, 500, gap=1.0)
LOW, HIGH = random_blocks(1)[:2]


def axis_between(low: np.ndarray, high: np.ndarray, reference: Reference = REFERENCE) -> Axis:
    return calibrate_axis(low, high, reference, low_prompts=["low"], high_prompts=["high"])


AXES = {"tension": axis_between(LOW, HIGH), "mood": axis_between(*random_blocks(2)[:2])}
METER = AxisMeter(AXES)
ALL = np.ones(3, bool)


@given(seeds, presences)
def test_a_value_is_its_formula(seed: int, present: tuple[bool, bool, bool]) -> None:
    blocks = random_blocks(seed)
    found = METER.values(join(blocks), [*present])
    for value, axis in zip(found, AXES.values(), strict=True):
        deviations = [
            (float(blocks[m] @ np.array(axis.direction)) - axis.mean[modality]) / axis.spread[modality]
            for m, modality in enumerate(MODALITIES)
            if present[m]
        ]
        assert value == pytest.approx(NormalDist().cdf(float(np.mean(deviations))), abs=1e-12)
        assert 0 <= value <= 1


@given(seeds, presences, st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_nearer_to_the_high_end_is_never_lower(
    seed: int, present: tuple[bool, bool, bool], steps: list[float]
) -> None:
    rest = random_blocks(seed)
    direction = unit(np.array(AXES["tension"].direction))
    rest = unit(rest - (rest @ direction)[..., None] * direction)  # at right angles to the axis
    values = [
        METER.values(join(unit(np.where(np.c_[[*present]], rest + step * direction, rest))), [*present])[0]
        for step in sorted(steps)
    ]
    assert (np.diff(values) >= -1e-12).all()


@given(seeds, seeds, presences)
def test_inferred_blocks_do_not_count(seed: int, other: int, present: tuple[bool, bool, bool]) -> None:
    blocks = random_blocks(seed)
    changed = np.where(np.c_[[*present]], blocks, random_blocks(other))
    np.testing.assert_allclose(
        METER.values(join(blocks), [*present]), METER.values(join(changed), [*present]), rtol=1e-12
    )


@given(seeds, presences)
def test_turned_around_an_axis_reads_the_other_way(seed: int, present: tuple[bool, bool, bool]) -> None:
    there_and_back = AxisMeter({"a": axis_between(LOW, HIGH), "b": axis_between(HIGH, LOW)})
    a, b = there_and_back.values(join(random_blocks(seed)), [*present])
    assert a + b == pytest.approx(1, abs=1e-6)


def test_across_the_modality_gap_each_modality_has_its_own_middle() -> None:
    blocks = random_blocks(7, 500)
    blocks[:, 0] += HIGH  # all pictures lie near one end
    blocks[:, 1] += LOW  # and all sounds near the other
    reference = Reference(unit(blocks), np.ones((500, 3), bool))
    axis = axis_between(LOW, HIGH, reference)
    raw = reference.blocks @ np.array(axis.direction)  # (R, 3)
    assert raw[:, 0].min() > raw[:, 2].max() > raw[:, 2].min() > raw[:, 1].max()
    for m in range(3):
        values = AxisMeter({"a": axis}).values(join(reference.blocks), np.tile(np.arange(3) == m, (500, 1)))
        assert values.shape == (500, 1)
        assert values.mean() == pytest.approx(0.5, abs=0.02)
        for quantile in (0.16, 0.5, 0.84):
            assert np.quantile(values, quantile) == pytest.approx(quantile, abs=0.07)


def test_the_ends_themselves_read_low_and_high() -> None:
    for end, expected in ((LOW, 0.0), (HIGH, 1.0)):
        value = METER.values(join(np.stack([end] * 3)), ALL)[0]
        assert value == pytest.approx(expected, abs=1e-6)


def test_known_numbers() -> None:
    meter = AxisMeter({"a": make_axis(mean={"visual": 0.1, "audio": 0.0, "transcript": -0.1})})
    blocks = np.zeros((3, 596))
    blocks[:, 1] = 1
    blocks[0, :2] = 0.2, np.sqrt(1 - 0.04)  # (0.2 - 0.1) / 0.1 = 1
    normal = NormalDist()
    for present, z in (
        ((1, 0, 0), 1.0),
        ((0, 1, 0), 0.0),
        ((0, 0, 1), 1.0),
        ((1, 1, 0), 0.5),
        ((1, 1, 1), 2 / 3),
    ):
        found = meter.values(join(blocks), np.array(present, bool))
        assert found == pytest.approx([normal.cdf(z)])


def test_many_rows_read_like_one() -> None:
    vectors, present = join(random_blocks(3, 4, 5)), np.random.default_rng(3).random((4, 5, 3)) < 0.7
    present[..., 0] |= ~present.any(axis=-1)
    together = METER.values(vectors, present)
    assert together.shape == (4, 5, 2)
    for i in np.ndindex(4, 5):
        np.testing.assert_allclose(together[i], METER.values(vectors[i], present[i]), rtol=1e-9)
    assert METER.values(vectors[:0], present[:0]).shape == (0, 5, 2)


def test_float32_as_stored_reads_the_same() -> None:
    vector = join(random_blocks(4))
    np.testing.assert_allclose(
        METER.values(vector.astype(np.float32), ALL), METER.values(vector, ALL), atol=1e-5
    )


def test_a_space_without_axes_has_no_values() -> None:
    meter = AxisMeter({})
    assert meter.names == ()
    assert meter.values(join(random_blocks(5, 7)), np.ones((7, 3), bool)).shape == (7, 0)


@pytest.mark.parametrize(
    ("vectors", "present"),
    [
        (np.ones(1787), ALL),
        (np.ones(1788), ALL),  # blocks that are not unit
        (np.full(1788, np.nan), ALL),
        (join(random_blocks(6)), ~ALL),
        (join(random_blocks(6)), np.ones(3)),
        (join(random_blocks(6, 2)), ALL),
        (join(random_blocks(6)), np.ones((2, 3), bool)),
    ],
)
def test_what_is_no_vector_is_refused(vectors: np.ndarray, present: np.ndarray) -> None:
    with pytest.raises(BlockError):
        METER.values(vectors, present)
