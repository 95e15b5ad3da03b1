"""Training of whole encoders on the procedural world: what co-occurs in a segment belongs together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resonance.training.contrast import info_nce
from resonance.training.loop import LoopSettings, Losses, train
from resonance.training.world.factors import SUBJECT_KINDS, SUBJECTS
from resonance.training.world.views import Views
from resonance.training.world.wild import MOMENTS, THINGS

#: The inverse temperature never exceeds this (Radford et al. 2021).
LARGEST_SCALE = 100.0
#: Pairs of modalities.
PAIRS = ("visual_audio", "visual_transcript", "audio_transcript")
#: Numbers of frames that a view of a wild thing has.
WILD_FRAMES = (1, 2, 2, 4)


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """Sizes of a batch and loss weights.

    Attributes:
        batch: segments a step.
        title_mates: of these, how many come in pairs from one title: same setting, subject and melody
            at another moment, the hardest negatives there are.
        likes: of these, how many come in fours of titles with one setting and subjects of one shape and one
            call, which differ in its marking and in how the calls are grouped.
        wild: things of no title, of which two views belong together.
        hardness: see `info_nce`.
        frames: numbers of frames a step draws from; 1 is a still picture.
        rest_weight: of pictures against the sum of sound and words, as a query finds a clip.
        words_first: share of the steps over which the weight of pictures against sound rises to its full
            value. Both learn sooner from words than from each other: after 125 steps of 250 a text finds
            its clip at 0.68 with such a rise and at 0.20 without.
        hum_weight: of hums against the sound and the text that have their melody.
    """

    loop: LoopSettings
    batch: int = 256
    title_mates: int = 64
    likes: int = 64
    wild: int = 32
    hardness: float = 0.0
    frames: tuple[int, ...] = (1, 1, 1, 2)
    rest_weight: float = 1.0
    words_first: float = 0.5
    hum_weight: float = 0.5
    wild_weight: float = 0.5


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
    temperatures = Temperatures((*PAIRS, "visual_rest", "same"))

    def losses(rng: np.random.Generator, step: int) -> Losses:
        rows = draw_rows(views, settings, rng)
        frames = int(rng.choice(settings.frames))
        v = views.pictures(rows, frames=frames, rng=rng)
        a = views.sounds(rows, rng=rng)
        t = views.words(rows)
        parts = {
            pair: info_nce(x, y, temperatures(pair), hardness=settings.hardness)
            for pair, (x, y) in zip(PAIRS, ((v, a), (v, t), (a, t)), strict=True)
        }
        parts["visual_rest"] = info_nce(v, functional.normalize(a + t, dim=1), temperatures("visual_rest"))
        total = parts["visual_transcript"] + parts["audio_transcript"]
        rise = min(1.0, step / (settings.words_first * settings.loop.steps))
        total = total + rise * (parts["visual_audio"] + settings.rest_weight * parts["visual_rest"])
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
        scales = {f"scale_{pair}": temperatures(pair) for pair in PAIRS}
        return {"loss": total, **parts, **scales}

    modules: dict[str, nn.Module] = {
        "visual_encoder": views.visual,
        "audio_encoder": views.audio,
        "transcript_encoder": views.transcript,
        "temperatures": temperatures,
    }
    made_of = {**asdict(settings), "pool": asdict(views.pool.settings)}
    return train(
        modules, losses, settings.loop, folder, title="encoders", device=views.device, made_of=made_of
    )


def draw_rows(views: Views, settings: TowerSettings, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch, rising, int64 [batch]: `title_mates` of them two from a title, `likes` of titles that
    are like others of the batch, the rest alone."""
    pool = views.pool.settings
    each = pool.segments_per_title
    pairs = min(settings.title_mates // 2, pool.titles // 4)
    alone = min(settings.batch - 2 * pairs, pool.titles - pairs)
    likes = _titles_alike(views.pool["factors"][::each], min(settings.likes, alone), rng)
    others = rng.permutation(np.setdiff1d(np.arange(pool.titles), likes))
    titles = np.concatenate([others[:pairs], likes, others[pairs : pairs + alone - len(likes)]])
    first = rng.integers(each, size=len(titles))
    # the second lies far enough away for the arc to have moved on
    away = rng.integers(3, max(each - 2, 4), size=pairs)
    second = (first[:pairs] + away) % each
    return np.unique(np.concatenate([titles * each + first, titles[:pairs] * each + second]))


def _titles_alike(factors: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Titles of one setting and of subjects of one kind, of each such subject one; int64, at most `most`.

    Args:
        factors: of a segment of each title, int8 [titles, 11].
    """
    shuffled = rng.permutation(len(factors))
    setting, subject = factors[shuffled, 0].astype(int), factors[shuffled, 1].astype(int)
    _, place = np.unique(setting * len(SUBJECTS) + subject, return_index=True)  # one of each
    alike = setting[place] * SUBJECT_KINDS + subject[place] % SUBJECT_KINDS
    kinds, counts = np.unique(alike, return_counts=True)
    found = [shuffled[place[alike == kind]] for kind in rng.permutation(kinds[counts > 1])]
    return np.concatenate([*found, np.zeros(0, np.int64)])[:most].astype(np.int64)


def _wild_loss(views: Views, settings: TowerSettings, rng: np.random.Generator, scale: Tensor) -> Tensor:
    """Two views of each thing, of one moment or of two; the other thing of its place is a negative."""
    pool = views.pool.settings
    places = rng.choice(pool.wild // (THINGS * MOMENTS), settings.wild // THINGS, replace=False)
    things = (places[:, None] * THINGS + np.arange(THINGS)).ravel()
    rows = pool.segments + things * MOMENTS + rng.integers(MOMENTS, size=(2, len(things)))  # (2, things)
    with views.settled():
        # a copy may have more keyframes than what it was made of, or fewer
        first, second = (views.pictures(r, frames=int(rng.choice(WILD_FRAMES)), rng=rng) for r in rows)
    pictures = info_nce(first, second, scale)
    first, second = (views.sounds(r, rng=rng) for r in rows)
    sounds = info_nce(first, second, scale)
    return (pictures + sounds) / 2
