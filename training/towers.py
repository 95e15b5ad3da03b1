"""Training of whole encoders on the procedural world: what co-occurs in a segment belongs together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from resonance.training.contrast import info_nce
from resonance.training.loop import LoopSettings, Losses, train
from resonance.training.world.views import Views

#: The inverse temperature never exceeds this (Radford et al. 2021).
LARGEST_SCALE = 100.0


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """Sizes of a batch and loss weights.

    Attributes:
        batch: segments a step.
        title_mates: of these, how many come in pairs from one title: same setting, subject and melody
            at another moment, the hardest negatives there are.
        wild: items of no title, of which two views belong together.
        hardness: see `info_nce`.
        frames: numbers of frames a step draws from; 1 is a still picture.
        hum_weight: of hums against the sound and the text that have their melody.
    """

    loop: LoopSettings
    batch: int = 256
    title_mates: int = 64
    wild: int = 32
    hardness: float = 0.0
    frames: tuple[int, ...] = (1, 2, 4)
    hum_weight: float = 0.5
    wild_weight: float = 0.3


class Temperature(nn.Module):
    """A learned inverse temperature, begun at 1 / 0.07."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self) -> Tensor:
        """Its value, at most LARGEST_SCALE."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)


def train_towers(views: Views, settings: TowerSettings, folder: Path) -> Path:
    """Train the three encoders of `views` in place; returns the log of losses."""
    temperature = Temperature()

    def losses(rng: np.random.Generator, step: int) -> Losses:
        rows = draw_rows(views, settings, rng)
        frames = int(rng.choice(settings.frames))
        scale = temperature()
        v = views.pictures(rows, frames=frames, rng=rng)
        a = views.sounds(rows, rng=rng)
        t = views.words(rows)
        parts = {
            "visual_audio": info_nce(v, a, scale, hardness=settings.hardness),
            "visual_transcript": info_nce(v, t, scale, hardness=settings.hardness),
            "audio_transcript": info_nce(a, t, scale, hardness=settings.hardness),
        }
        total = sum(parts.values())
        every = views.pool.settings.hum_every
        hummed = np.flatnonzero(rows % every == 0)
        if len(hummed) > 1:
            h = views.sounds(rows[hummed] // every, hums=True, rng=rng)
            here = torch.from_numpy(hummed)
            parts["hum"] = (info_nce(h, a[here], scale) + info_nce(h, t[here], scale)) / 2
            total = total + 2 * settings.hum_weight * parts["hum"]
        if settings.wild and views.pool.settings.wild:
            parts["wild"] = _wild_loss(views, settings, rng, scale)
            total = total + settings.wild_weight * parts["wild"]
        parts["scale"] = scale
        return {"loss": total, **parts}

    modules: dict[str, nn.Module] = {
        "visual_encoder": views.visual,
        "audio_encoder": views.audio,
        "transcript_encoder": views.transcript,
        "temperature": temperature,
    }
    return train(modules, losses, settings.loop, folder, title="encoders", device=views.device)


def draw_rows(views: Views, settings: TowerSettings, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch, rising, int64 [batch]: `title_mates` of them two from a title, the others alone."""
    pool = views.pool.settings
    pairs = min(settings.title_mates // 2, pool.titles // 4)
    alone = min(settings.batch - 2 * pairs, pool.titles - pairs)
    titles = rng.choice(pool.titles, pairs + alone, replace=False)
    first = rng.integers(pool.segments_per_title, size=pairs + alone)
    # the second lies far enough away for the arc to have moved on
    away = rng.integers(3, max(pool.segments_per_title - 2, 4), size=pairs)
    second = (first[:pairs] + away) % pool.segments_per_title
    rows = np.concatenate(
        [titles * pool.segments_per_title + first, titles[:pairs] * pool.segments_per_title + second]
    )
    return np.unique(rows)


def _wild_loss(views: Views, settings: TowerSettings, rng: np.random.Generator, scale: Tensor) -> Tensor:
    pool = views.pool.settings
    rows = np.sort(pool.segments + rng.choice(pool.wild, min(settings.wild, pool.wild), replace=False))
    pictures = info_nce(
        views.pictures(rows, frames=2, rng=rng), views.pictures(rows, frames=2, rng=rng), scale
    )
    sounds = info_nce(views.sounds(rows, rng=rng), views.sounds(rows, rng=rng), scale)
    return (pictures + sounds) / 2
