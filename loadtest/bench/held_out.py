"""What `resonance align` makes of titles beside its library, with titles held out and without."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resonance.export.contract import ENCODERS
from resonance.export.families import tiny
from resonance.space.descriptor import MODALITIES
from resonance.training.features import TitleFeatures, projection_of
from resonance.training.heads import HeadSettings, train_projections
from resonance.training.heldout import held_out_rows
from resonance.training.recalls import mean_recall
from resonance.training.segments import Segments, project
from resonance.training.tiny import load_modules, views_of
from resonance.training.world.pool import PoolSettings, load_or_render

#: Titles of the world that `tiny` was never trained on: of the library at most, and others.
TITLES, OTHERS, SEGMENTS_A_TITLE = 60, 60, 4
POOL = PoolSettings(TITLES + OTHERS, SEGMENTS_A_TITLE, seed=777, held_out=True, codec_share=0.0)
#: Numbers of the projections that leave something to learn are moved by so many of their standard deviations.
MOVED = 2.0
#: Segments encoded at once; a divisor of their number.
ROWS = 60


@dataclass(frozen=True, slots=True)
class HeldOutGain:
    """Recall@1 across modalities before and after, of the library and of `OTHERS` other titles; `share` of
    the titles was to be held out, and the projections are those of step `kept`."""

    titles: int
    moved: float
    share: float
    kept: int
    library_before: float
    library_after: float
    others_before: float
    others_after: float


def measure_held_out(folder: Path) -> list[HeldOutGain]:
    """`tiny`, which knows this world, aligned on few titles of it: as it is, and where its projections were
    moved by noise, which leaves something to learn."""
    features = _features(folder / "held-out")
    others = Segments.of(features[TITLES:])
    return [
        _gain(features[:titles], others, moved, share)
        for moved in (0.0, MOVED)
        for titles in (TITLES, TITLES // 2)
        for share in (0.0, HeadSettings().held_out)
    ]


def _gain(library: list[TitleFeatures], others: Segments, moved: float, share: float) -> HeldOutGain:
    projections, settings = _projections(moved), replace(HeadSettings(), held_out=share)
    rows = held_out_rows(library, share, settings.loop.seed)
    segments = Segments.of(library)
    learned, device = segments.take(~rows), torch.device("cpu")
    before = [_recall(projections, one) for one in (learned, others)]
    with tempfile.TemporaryDirectory() as runs, torch.random.fork_rng():
        held = train_projections(
            projections,
            learned,
            settings,
            Path(runs),
            device,
            segments.take(rows) if rows.any() else None,
        )
    after = [_recall(projections, one) for one in (learned, others)]
    kept = settings.loop.steps if held is None else held.kept
    return HeldOutGain(len(library), moved, share, kept, before[0], after[0], before[1], after[1])


def _recall(projections: nn.ModuleList, segments: Segments) -> float:
    with torch.inference_mode():
        return mean_recall(project(projections, segments.features), segments)


def _projections(moved: float) -> nn.ModuleList:
    modules = load_modules(tiny.WEIGHTS)
    found = nn.ModuleList(projection_of(modules[name]) for name in ENCODERS)
    generator = torch.Generator().manual_seed(0)
    for one in found.parameters():
        noise = torch.randn(one.shape, generator=generator)
        one.data += moved * one.data.std() * noise
    return found


def _features(folder: Path) -> list[TitleFeatures]:
    """What the encoders of `tiny` say before their projections, by title."""
    pool = load_or_render(folder, POOL, workers=os.cpu_count() or 1)
    modules = load_modules(tiny.WEIGHTS)
    views = views_of(pool, modules, torch.device("cpu"))
    found: dict[str, NDArray[np.float32]] = {}
    for modality, name, view in zip(
        MODALITIES, ENCODERS, (views.pictures, views.sounds, views.words), strict=True
    ):
        said: list[Tensor] = []
        # encoders may append a row to the batch: `resonance.export.graphs.pooling.projected`
        hook = projection_of(modules[name].eval()).register_forward_pre_hook(
            lambda _, given, said=said: said.append(given[0][:ROWS].float())
        )
        with torch.inference_mode():
            for start in range(0, POOL.segments, ROWS):
                view(np.arange(start, start + ROWS))
        hook.remove()
        found[modality] = torch.cat(said).numpy()
    present = np.ones((SEGMENTS_A_TITLE, len(MODALITIES)), bool)
    times_s = np.arange(SEGMENTS_A_TITLE, dtype=np.float32) * 8.0
    return [
        TitleFeatures({m: one[at : at + SEGMENTS_A_TITLE] for m, one in found.items()}, present, times_s, "")
        for at in range(0, POOL.segments, SEGMENTS_A_TITLE)
    ]
