"""A move between two real spaces of `tiny`, on few titles: it is measured, and right is told from wrong."""

from __future__ import annotations

from pathlib import Path

import torch

from resonance.export.families import tiny
from resonance.loadtest.audit.carry import measured
from resonance.loadtest.audit.carry_spaces import seeded_modules, title_vectors
from resonance.training.tiny import load_modules
from resonance.training.world.pool import PoolSettings, load_or_render

POOL = PoolSettings(titles=160, segments_per_title=1, seed=77, held_out=True)


def test_between_untrained_and_trained_encoders_a_wrong_pairing_is_told(tmp_path: Path) -> None:
    pool = load_or_render(tmp_path, POOL, workers=torch.get_num_threads())
    vectors = {
        "committed": title_vectors(pool, load_modules(tiny.WEIGHTS), every=1),
        "other seed": title_vectors(pool, seeded_modules(3), every=1),
    }
    right, wrong = measured(vectors, "committed", "other seed")
    after, mixed = right.move.loss, wrong.move.loss
    assert after.true.value > after.unaligned.value + 0.1
    assert after.true.value > mixed.true.value + 0.1
