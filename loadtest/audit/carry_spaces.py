"""Several spaces of the family `tiny`, and the same held-out titles in each: what a move is measured with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from resonance.export.contract import ENCODERS
from resonance.export.families import tiny
from resonance.export.weights import load_weights, save_weights, seed_weights
from resonance.training.loop import LoopSettings
from resonance.training.recipes import RECIPES
from resonance.training.tiny import load_modules, segment_blocks, views_of
from resonance.training.titles import TitleBlocks
from resonance.training.towers import TowerSettings, train_towers
from resonance.training.world.measure import fuse_titles
from resonance.training.world.pool import Pool, PoolSettings, load_or_render

#: A tenth of the recipe `cpu`: minutes, and a space in which things are found.
SHORT_POOL = PoolSettings(titles=240, segments_per_title=12, wild=160, seed=596)
STEPS = 160
SEGMENT_S = 8.0
CPU = torch.device("cpu")


def seeded_modules(seed: int) -> dict[str, nn.Module]:
    """The family's graphs as training would start from another seed."""
    modules = load_modules(None)
    for name in ENCODERS:
        seed_weights(modules[name], seed)
    return modules


def trained_modules(seed: int, folder: Path) -> dict[str, nn.Module]:
    """Encoders trained from `seed` on `SHORT_POOL`; the fusion head as training starts, which is a mean.

    What is in `folder` is gone on with, and is not trained again once it is done.
    """
    modules = seeded_modules(seed)
    weights = folder / f"seed{seed}.safetensors"
    if not weights.exists():
        pool = load_or_render(folder / "pool", SHORT_POOL, workers=torch.get_num_threads())
        loop = LoopSettings(
            steps=STEPS, learning_rate=1.5e-3, warmup_steps=20, seed=seed, checkpoint_every=10
        )
        settings = TowerSettings(loop, batch=128, title_mates=32, wild=16)
        train_towers(views_of(pool, modules, CPU), settings, folder / f"seed{seed}")
        save_weights({name: modules[name] for name in ENCODERS}, weights, {})
    for name in ENCODERS:
        load_weights(modules[name], weights, name)
    return modules


def held_out_pool(folder: Path, settings: PoolSettings = RECIPES["cpu"].evaluation) -> Pool:
    """By default those titles that `tiny` is evaluated on."""
    return load_or_render(folder, settings, workers=torch.get_num_threads())


def title_vectors(pool: Pool, modules: dict[str, nn.Module], *, every: int = 3) -> np.ndarray:
    """The pool's titles by every so many of their segments, fused: float32 [n, 1788]."""
    settings = pool.settings
    rows = np.arange(settings.segments).reshape(settings.titles, -1)[:, ::every]  # (n, S)
    found = segment_blocks(views_of(pool, modules, CPU), rows=rows.reshape(-1))
    blocks = found.unflatten(0, rows.shape)  # (n, S, 3, 596)
    times_s = (torch.arange(rows.shape[1]) * every * SEGMENT_S).expand(rows.shape).float()
    titles = TitleBlocks(blocks, torch.ones(*rows.shape, 3, dtype=torch.bool), times_s)
    return fuse_titles(modules["title_fusion"], titles).numpy()


def spaces(folder: Path, pool_folder: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Title vectors [n, 1788] by space: ``committed``, ``untrained``, or ``seedN``, trained from seed N."""
    vectors = {}
    for name in names:
        cached = folder / f"{name}.titles.npy"
        if not cached.exists():
            folder.mkdir(parents=True, exist_ok=True)
            if name == "committed":
                modules = load_modules(tiny.WEIGHTS)
            elif name == "untrained":
                modules = load_modules(None)
            else:
                modules = trained_modules(int(name.removeprefix("seed")), folder)
            np.save(cached, title_vectors(held_out_pool(pool_folder), modules))
        vectors[name] = np.load(cached)
    return vectors
