"""Contours of sound whose melody is known."""

from __future__ import annotations

import numpy as np
import pytest

from resonance.clients.discovery.pitch import HIGHEST_HZ, LOWEST_HZ, contour
from tests.clients.discovery.tunes import PURE, REED, SAMPLE_RATE_HZ, sung_tune, tune_notes


@pytest.mark.parametrize("timbre", [PURE, REED, (0.5, 1.0, 0.7)])
@pytest.mark.parametrize("key", [-12.0, 0.0, 5.3])
def test_a_tune(timbre: tuple[float, ...], key: float) -> None:
    notes = np.array(tune_notes(11), np.float32)
    line = contour(sung_tune(notes.tolist(), key=key, timbre=timbre))
    assert line.dtype == np.float32
    assert line.shape == (80,)
    # a bin of 7.8 Hz is more than a semitone below 130 Hz, an eighth of one at 1,000 Hz
    np.testing.assert_allclose(line[5::10], notes + key, atol=0.8 if key < 0 else 0.3)


def test_a_tune_over_what_sounds_all_the_time() -> None:
    """A chord as loud as the tune, and noise."""
    notes = tune_notes(12)
    chord = sum(sung_tune([note], note_s=8.0) for note in (-17, -13, -10))
    noise = np.random.default_rng(1).normal(0, 0.003, 8 * SAMPLE_RATE_HZ)
    line = contour((sung_tune(notes, timbre=REED) + chord + noise).astype(np.float32))
    right = np.abs(line.reshape(8, 10)[:, 2:8] - np.array(notes)[:, None]) < 0.5
    assert right.mean() > 0.9


def test_pauses_have_no_pitch() -> None:
    tune = sung_tune([0, 5, 2, 7])
    silence = np.zeros_like(tune)
    line = contour(np.concatenate([tune, silence]))
    assert np.isnan(line[42:]).all()
    assert not np.isnan(line[2:38]).any()


@pytest.mark.parametrize(
    "pcm",
    [
        np.zeros(128_000, np.float32),
        np.random.default_rng(1).normal(0, 0.1, 128_000).astype(np.float32),
        sung_tune([3], note_s=8.0),
    ],
    ids=["silence", "noise", "one note that never ends"],
)
def test_no_melody(pcm: np.ndarray) -> None:
    assert np.isnan(contour(pcm)).mean() > 0.9


def test_short_and_out_of_range() -> None:
    assert contour(np.zeros(0, np.float32)).shape == (0,)
    assert contour(np.zeros(1_599, np.float32)).shape == (0,)
    assert contour(np.zeros(1_601, np.float32)).shape == (1,)
    low, high = (12 * np.log2(hz / 440) for hz in (LOWEST_HZ, HIGHEST_HZ))
    line = contour(sung_tune([high + 5, high + 9, high + 7]))
    assert ((line >= low) & (line <= high) | np.isnan(line)).all()


def test_loudness_does_not_matter() -> None:
    tune = sung_tune(tune_notes(13), timbre=REED)
    np.testing.assert_allclose(contour(tune)[5::10], contour(0.1 * tune)[5::10], atol=0.01)
