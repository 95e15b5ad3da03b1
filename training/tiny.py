"""Training of the family `tiny` from its seed to its weights: encoders on the world, then the fusion head."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from resonance.export.contract import ENCODERS
from resonance.export.families import tiny
from resonance.export.graphs.compact_audio import CompactAudioGraph
from resonance.export.graphs.compact_transcript import CompactTranscriptGraph
from resonance.export.graphs.compact_visual import CompactVisualGraph
from resonance.export.graphs.fusion import FusionGraph
from resonance.export.weights import load_weights, save_weights
from resonance.training.fusion import train_fusion
from resonance.training.loop import NOTHING_MORE, spent_s
from resonance.training.recipes import Recipe
from resonance.training.titles import TitleBlocks
from resonance.training.towers import train_towers
from resonance.training.world.pool import Pool, PoolSettings, load_or_render
from resonance.training.world.sound import SEGMENT_SAMPLES
from resonance.training.world.views import Views, resident
from resonance.training.world.wild import MOMENTS

#: Rows that the encoders take at once where nothing is learned.
ENCODED_AT_ONCE = 128
SEGMENT_S = SEGMENT_SAMPLES / tiny.SAMPLE_RATE_HZ
REFERENCE_POOL = PoolSettings(titles=512, segments_per_title=3, seed=20 * tiny.SEED, held_out=True)
Note = Callable[[str], None]


def views_of(
    pool: Pool,
    modules: Mapping[str, nn.Module],
    device: torch.device,
    on_device: Mapping[str, torch.Tensor] = NOTHING_MORE,
) -> Views:
    """The three encoders of `modules` over `pool`, of which arrays may be on the device already."""
    visual, audio, transcript = (modules[name].to(device) for name in ENCODERS)
    return Views(
        pool,
        cast(CompactVisualGraph, visual),
        cast(CompactAudioGraph, audio),
        cast(CompactTranscriptGraph, transcript),
        encoder_px=tiny.VISUAL_PREPROCESSING["encoder_px"],
        device=device,
        resident=on_device,
    )


def load_modules(weights: Path | None) -> dict[str, nn.Module]:
    """All graphs of `tiny`: trained ones from `weights`, or as training starts."""
    modules = {name: tiny.seeded(name) for name in tiny.NEW}
    if weights is not None:
        for name, module in modules.items():
            load_weights(module, weights, name)
    return modules


def train_tiny(
    recipe: Recipe, folder: Path, weights: Path, *, workers: int, device: torch.device, note: Note
) -> dict[str, float]:
    """Run `recipe` in `folder` and write `weights` and its reference set; returns seconds a stage.

    A run that was stopped goes on from what is in `folder`: the steps that were done before count into the
    seconds of their stage; what was rendered before does not.

    Raises:
        ResumeError: what is in `folder` is of another recipe.
        DivergedError: a loss is not finite.
    """
    seconds: dict[str, float] = {}
    started_s = time.monotonic()

    def lap(stage: str, log: Path | None = None) -> None:
        nonlocal started_s
        now_s = time.monotonic()
        seconds[stage] = now_s - started_s if log is None else spent_s(log)
        started_s = now_s
        note(f"{stage}: {seconds[stage]:.0f} s")

    pool = load_or_render(folder / "pool", recipe.pool, workers=workers, on_progress=_every(note, 2048))
    lap("rendering")
    modules = load_modules(None)
    on_device = resident(pool, device)
    log = train_towers(views_of(pool, modules, device, on_device), recipe.towers, folder / "towers")
    lap("encoders", log)
    # what is stored decides the space, so the fusion head learns from the rounded encoders
    partial = folder / "towers.safetensors"
    save_weights({name: modules[name] for name in ENCODERS}, partial, {})
    for name in ENCODERS:
        load_weights(modules[name], partial, name)
    views = views_of(pool, modules, device, on_device)
    titles, wild = title_blocks(views), wild_blocks(views)
    lap("blocks of all titles")
    fusion = cast(FusionGraph, modules["title_fusion"])
    made_of = {"pool": asdict(recipe.pool), "encoders": asdict(recipe.towers)}
    log = train_fusion(
        fusion, titles, recipe.fusion, folder / "fusion", device=device, wild=wild, made_of=made_of
    )
    lap("fusion head", log)
    save_weights(modules, weights, _provenance(recipe, device, seconds))
    return seconds


def _every(note: Note, rows: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done % rows == 0 or done == total:
            note(f"rendered {done:,} of {total:,}")

    return report


def _provenance(recipe: Recipe, device: torch.device, seconds: Mapping[str, float]) -> dict[str, str]:
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "recipe": json.dumps(asdict(recipe), sort_keys=True),
        "device": f"{device.type} {hardware}".strip(),
        "torch": torch.__version__,
        "seconds": json.dumps({k: round(v) for k, v in seconds.items()}),
    }


def write_reference(weights: Path, target: Path, folder: Path, *, workers: int, device: torch.device) -> None:
    """Blocks of one segment of each of REFERENCE_TITLES held-out titles, which sigmas and axes are
    calibrated on; they are neither trained nor evaluated on."""
    pool = load_or_render(folder, REFERENCE_POOL, workers=workers)
    count, each = REFERENCE_POOL.titles, REFERENCE_POOL.segments_per_title
    rng = np.random.Generator(np.random.PCG64(REFERENCE_POOL.seed))
    rows = np.arange(count) * each + rng.integers(each, size=count)
    blocks = segment_blocks(views_of(pool, load_modules(weights), device), rows=rows)
    present = np.ones((count, 3), bool)
    np.savez_compressed(target, blocks=blocks.numpy().astype(np.float16), present=present)


@torch.inference_mode()
def segment_blocks(views: Views, *, rows: np.ndarray | None = None) -> torch.Tensor:
    """Blocks of rows of the pool's titles (all of them by default), fp32 [R, 3, 596], on the CPU."""
    rows = np.arange(views.pool.settings.segments) if rows is None else rows
    return _stacked(rows, views, (views.pictures, views.sounds, views.words))


@torch.inference_mode()
def wild_blocks(views: Views) -> torch.Tensor:
    """Visual and audio blocks of the pool's wild things, fp32 [things, moments, 2, 596], on the CPU."""
    settings = views.pool.settings
    rows = settings.segments + np.arange(settings.wild)
    return _stacked(rows, views, (views.pictures, views.sounds)).unflatten(0, (-1, MOMENTS))


def _stacked(
    rows: np.ndarray, views: Views, encoders: Sequence[Callable[[np.ndarray], torch.Tensor]]
) -> torch.Tensor:
    """What each of `encoders` makes of each row, fp32 [R, encoders, 596], on the CPU."""
    for tower in (views.visual, views.audio, views.transcript):
        tower.eval()
    parts = []
    for start in range(0, len(rows), ENCODED_AT_ONCE):
        chunk = rows[start : start + ENCODED_AT_ONCE]
        parts.append(torch.stack([encode(chunk).float().cpu() for encode in encoders], dim=1))
    return torch.cat(parts)


def title_blocks(views: Views) -> TitleBlocks:
    """The titles of a pool as the fusion head sees them."""
    settings = views.pool.settings
    shape = (settings.titles, settings.segments_per_title)
    blocks = segment_blocks(views).unflatten(0, shape)  # (N, S, 3, 596)
    times_s = (torch.arange(shape[1]) * SEGMENT_S).expand(shape).float()
    return TitleBlocks(blocks, torch.ones(*shape, 3, dtype=torch.bool), times_s)
