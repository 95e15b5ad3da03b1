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
from resonance.training.world.factors import SETTINGS
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
        settings: numbers of settings that a step draws its titles from. Among all 16 a subject hardly
            ever has to be looked at: setting, tension and pace tell most pairs of a batch apart.
        wild: items of no title, of which two views belong together.
        hardness: see `info_nce`.
        frames: numbers of frames a step draws from; 1 is a still picture.
        visual_audio_weight: of what is seen against what is heard, the hardest pair.
        hum_weight: of hums against the sound and the text that have their melody.
    """

    loop: LoopSettings
    batch: int = 256
    title_mates: int = 64
    settings: tuple[int, ...] = (16, 16, 4)
    wild: int = 32
    hardness: float = 0.0
    frames: tuple[int, ...] = (1, 1, 2, 2, 2, 4)
    visual_audio_weight: float = 2.0
    hum_weight: float = 0.5
    wild_weight: float = 0.3


class Temperatures(nn.Module):
    """Learned inverse temperatures, one a pair of modalities, begun at 1 / 0.07.

    AdamW moves a number by about its learning rate a step, so a logarithm would take a thousand steps to
    where it wants to be: the parameter is a tenth of it.
    """

    def __init__(self, pairs: tuple[str, ...]) -> None:
        super().__init__()
        start = torch.tensor(math.log(1 / 0.07) / 10)
        self.tenth_log = nn.ParameterDict({pair: nn.Parameter(start.clone()) for pair in pairs})

    def forward(self, pair: str) -> Tensor:
        """That of `pair`, at most LARGEST_SCALE."""
        return (10 * self.tenth_log[pair]).exp().clamp(max=LARGEST_SCALE)


def train_towers(views: Views, settings: TowerSettings, folder: Path) -> Path:
    """Train the three encoders of `views` in place; returns the log of losses."""
    temperatures = Temperatures(("visual_audio", "visual_transcript", "audio_transcript", "same"))

    def losses(rng: np.random.Generator, step: int) -> Losses:
        rows = draw_rows(views, settings, rng)
        frames = int(rng.choice(settings.frames))
        v = views.pictures(rows, frames=frames, rng=rng)
        a = views.sounds(rows, rng=rng)
        t = views.words(rows)
        pairs = {"visual_audio": (v, a), "visual_transcript": (v, t), "audio_transcript": (a, t)}
        parts = {
            pair: info_nce(x, y, temperatures(pair), hardness=settings.hardness)
            for pair, (x, y) in pairs.items()
        }
        # nobody says in words what is seen and heard: without a weight the words take all the room
        total = sum(parts.values()) + (settings.visual_audio_weight - 1.0) * parts["visual_audio"]
        every = views.pool.settings.hum_every
        hummed = np.flatnonzero(rows % every == 0)
        if len(hummed) > 1:
            h = views.sounds(rows[hummed] // every, hums=True, rng=rng)
            here = torch.from_numpy(hummed)
            sound = info_nce(h, a[here], temperatures("same"))
            words = info_nce(h, t[here], temperatures("audio_transcript"))
            parts["hum"] = (sound + words) / 2
            total = total + 2 * settings.hum_weight * parts["hum"]
        if settings.wild and views.pool.settings.wild:
            parts["wild"] = _wild_loss(views, settings, rng, temperatures("same"))
            total = total + settings.wild_weight * parts["wild"]
        scales = {f"scale_{pair}": temperatures(pair) for pair in pairs}
        return {"loss": total, **parts, **scales}

    modules: dict[str, nn.Module] = {
        "visual_encoder": views.visual,
        "audio_encoder": views.audio,
        "transcript_encoder": views.transcript,
        "temperatures": temperatures,
    }
    return train(modules, losses, settings.loop, folder, title="encoders", device=views.device)


def draw_rows(views: Views, settings: TowerSettings, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch, rising, int64 [batch]: `title_mates` of them two from a title, the others alone."""
    pool = views.pool.settings
    where = np.asarray(views.pool["factors"])[:: pool.segments_per_title, 0]  # setting of each title
    near = rng.permutation(len(SETTINGS))[: int(rng.choice(settings.settings))]
    candidates = np.flatnonzero(np.isin(where, near))
    pairs = min(settings.title_mates // 2, len(candidates) // 4)
    alone = min(settings.batch - 2 * pairs, len(candidates) - pairs)
    titles = rng.choice(candidates, pairs + alone, replace=False)
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
    with views.settled():
        first, second = (views.pictures(rows, frames=2, rng=rng) for _ in range(2))
    pictures = info_nce(first, second, scale)
    sounds = info_nce(views.sounds(rows, rng=rng), views.sounds(rows, rng=rng), scale)
    return (pictures + sounds) / 2
