"""How `tiny` is trained: one recipe a kind of machine. The committed weights name theirs."""

from __future__ import annotations

from dataclasses import dataclass

from resonance.training.fusion import FusionSettings
from resonance.training.loop import LoopSettings
from resonance.training.towers import TowerSettings
from resonance.training.world.pool import PoolSettings

SEED = 596


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result of a run."""

    summary: str
    pool: PoolSettings
    towers: TowerSettings
    fusion: FusionSettings
    evaluation: PoolSettings


RECIPES = {
    "cpu": Recipe(
        summary="two cores, under 40 minutes",
        pool=PoolSettings(titles=2000, segments_per_title=12, wild=3200, seed=SEED),
        towers=TowerSettings(LoopSettings(steps=1100, learning_rate=1.5e-3)),
        fusion=FusionSettings(LoopSettings(steps=400, learning_rate=1e-3)),
        evaluation=PoolSettings(titles=1001, segments_per_title=12, seed=10 * SEED, held_out=True),
    ),
    "gpu": Recipe(
        summary="one GPU, under 15 minutes",
        pool=PoolSettings(titles=6000, segments_per_title=12, wild=6000, seed=SEED),
        towers=TowerSettings(
            LoopSettings(steps=6000, learning_rate=1.5e-3), batch=512, title_mates=128, wild=64
        ),
        fusion=FusionSettings(LoopSettings(steps=3000, learning_rate=1e-3), titles=192),
        evaluation=PoolSettings(titles=1001, segments_per_title=12, seed=10 * SEED, held_out=True),
    ),
    "gpu-short": Recipe(
        summary="one GPU, fewer titles and steps",
        pool=PoolSettings(titles=2500, segments_per_title=12, wild=3200, seed=SEED),
        towers=TowerSettings(
            LoopSettings(steps=1800, learning_rate=1.5e-3), batch=512, title_mates=128, wild=64
        ),
        fusion=FusionSettings(LoopSettings(steps=1000, learning_rate=1e-3), titles=192),
        evaluation=PoolSettings(titles=1001, segments_per_title=12, seed=10 * SEED, held_out=True),
    ),
    "smoke": Recipe(
        summary="proves that every stage runs; learns next to nothing",
        pool=PoolSettings(titles=32, segments_per_title=6, wild=32, seed=SEED),
        towers=TowerSettings(
            LoopSettings(steps=12, learning_rate=1e-3, warmup_steps=4, checkpoint_every=5),
            batch=32,
            title_mates=8,
            wild=8,
        ),
        fusion=FusionSettings(LoopSettings(steps=10, learning_rate=1e-3, warmup_steps=4), titles=16),
        evaluation=PoolSettings(titles=40, segments_per_title=6, seed=10 * SEED, held_out=True),
    ),
}
