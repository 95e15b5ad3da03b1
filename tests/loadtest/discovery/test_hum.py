"""What the measurement of hums is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from resonance.clients.discovery.pitch import contour
from resonance.export.families import tiny
from resonance.loadtest.discovery.hum import contour_scores, found_by, fused
from resonance.loadtest.discovery.hum_trackers import yin_contour
from resonance.loadtest.discovery.hum_world import as_float, at_tempo
from resonance.training.world.pool import PoolSettings, load_or_render, render_segment
from resonance.training.world.sound import render_hum

MELODY = (1, -2, 2, 2, -1, 1, -2)


def test_rows_rendered_alone_are_those_of_the_pool(tmp_path: Path) -> None:
    settings = PoolSettings(titles=2, segments_per_title=4, seed=3, held_out=True)
    pool = load_or_render(tmp_path / "pool", settings, workers=1)
    segment = render_segment(settings, 4)
    assert segment.hum is not None
    assert render_segment(settings, 5).hum is None
    np.testing.assert_array_equal(segment.frames, pool["frames"][4])
    sounds = torch.from_numpy(np.stack([segment.pcm, segment.hum]))
    with torch.inference_mode():
        mel, _ = tiny.new_audio().features(sounds, torch.full((2, 1), sounds.shape[1]))
    np.testing.assert_allclose(mel[0], pool["mel"][4], atol=5e-3)  # kept as float16
    np.testing.assert_allclose(mel[1], pool["hum_mel"][1], atol=5e-3)


@pytest.mark.parametrize("tempo", [0.75, 4 / 3])
def test_another_tempo_is_the_same_key(tempo: float) -> None:
    hum = render_hum(MELODY, np.random.default_rng(5))
    changed = at_tempo(hum, tempo)
    assert len(changed) == pytest.approx(len(hum) / tempo, abs=1)
    assert np.nanmedian(contour(changed)) == pytest.approx(np.nanmedian(contour(hum)), abs=0.6)


def test_trackers_agree_on_a_lone_hum() -> None:
    hum = as_float((render_hum(MELODY, np.random.default_rng(5)) * 32767).astype(np.int16))
    ours, yin = contour(hum), yin_contour(hum)
    assert (np.abs(ours - yin) < 0.5).mean() > 0.8


def test_scores() -> None:
    hums = [contour(render_hum(MELODY, np.random.default_rng(seed))) for seed in (1, 2)]
    other = contour(render_hum((-1, -1, 2, 0, 1, 1, -2), np.random.default_rng(3)))
    scores, _ = contour_scores([hums[0], other], [hums[1]])
    assert scores.shape == (1, 2)
    assert scores[0, 0] > scores[0, 1]
    assert found_by("contour", 1.0, scores).recall_at_1 == 1.0
    assert found_by("contour", 1.0, scores.flip(1)).recall_at_1 == 0.0
    assert found_by("contour", 1.0, torch.zeros(1, 2)).recall_at_1 == 0.0, "a tie is no hit"
    chance = torch.rand(3, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fused(10 * chance, chance), fused(chance, 10 * chance))
