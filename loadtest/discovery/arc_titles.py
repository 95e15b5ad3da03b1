"""Titles of the procedural world, whose arcs are known: by their true levels, and as `tiny` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from resonance.clients.axes import axis_arcs
from resonance.space.axes import AxisMeter
from resonance.space.blocks import join
from resonance.space.descriptor import Axis
from resonance.training.tiny import SEGMENT_S, segment_blocks, views_of
from resonance.training.world.factors import ARCS, LEVELS, TitleFactors
from resonance.training.world.pool import Pool, PoolSettings, title_of

#: The axes that follow the world's arcs, and their column in a pool's factors.
AXES = {"tension": 2, "pace": 3}
#: The shape that each of the world's arcs is, by its index.
LABELS = tuple(name.replace(" ", "-") for name in ARCS)
#: A title that does not move.
FLAT = -1
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class WorldTitles:
    """Titles with a known arc.

    labels: int [n], indices of `LABELS`, or `FLAT`. values: 0..1 by axis, float64 [n, S], a segment each.
    """

    labels: np.ndarray
    values: Mapping[str, np.ndarray]

    def arcs(self, axes: Mapping[str, Axis]) -> list[dict[str, Points]]:
        """What a store would hold of each, of `axes`."""
        names = list(self.values)
        values = np.stack([self.values[name] for name in names], axis=-1)  # (n, S, A)
        times_s = (np.arange(values.shape[1]) + 0.5) * SEGMENT_S
        return [
            axis_arcs(
                axes,
                [(float(t), dict(zip(names, v, strict=True))) for t, v in zip(times_s, title, strict=True)],
            )
            for title in values.tolist()
        ]

    def __add__(self, other: WorldTitles) -> WorldTitles:
        values = {name: np.concatenate([v, other.values[name]]) for name, v in self.values.items()}
        return WorldTitles(np.concatenate([self.labels, other.labels]), values)


@dataclass(frozen=True, slots=True)
class LevelTitles:
    """Titles by their levels 0 to 4 of tension and pace, int [n, S, 2]; labels as in `WorldTitles`."""

    labels: np.ndarray
    levels: np.ndarray

    def as_told(self) -> WorldTitles:
        """The levels themselves, quantised a segment as they are."""
        levels = self.levels / (LEVELS - 1)
        return WorldTitles(self.labels, {name: levels[..., i] for i, name in enumerate(AXES)})


def level_titles(settings: PoolSettings, *, most_bent: float = 1.0, seed: int = 0) -> LevelTitles:
    """The titles of a pool by the levels they are made of; nothing is rendered.

    With `most_bent` the time of each title is bent, position ** g with g from 1 / most_bent to most_bent, so
    that turning points lie elsewhere: at 2 what is half way is at 0.25 to 0.71 of the title.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    titles = [title_of(settings, at) for at in range(settings.titles)]
    positions = np.linspace(0, 1, settings.segments_per_title)
    bends = most_bent ** rng.uniform(-1, 1, len(titles))
    levels = [[_levels(title, p) for p in positions**bend] for title, bend in zip(titles, bends, strict=True)]
    return LevelTitles(np.array([title.arc for title in titles]), np.array(levels))


def flat_titles(count: int, segments: int) -> LevelTitles:
    """Titles that stay on one level, the same of tension and pace; all levels in turn."""
    levels = np.arange(count)[:, None, None] % LEVELS  # (n, 1, 1)
    return LevelTitles(np.full(count, FLAT), np.broadcast_to(levels, (count, segments, 2)))


def _levels(title: TitleFactors, position: float) -> tuple[int, int]:
    segment = title.at(position)
    return segment.tension, segment.pace


@dataclass(frozen=True, slots=True)
class Rendered:
    """Segments of a pool as the served space reads them.

    vectors: float64 [R, 1788]; values: 0..1 by axis, float64 [R]; levels: int [R, 2] of tension and pace.
    """

    settings: PoolSettings
    vectors: np.ndarray
    values: Mapping[str, np.ndarray]
    levels: np.ndarray

    @classmethod
    def of(cls, pool: Pool, modules: Mapping[str, nn.Module], axes: Mapping[str, Axis]) -> Rendered:
        """A pool whose segments have all modalities; those blocks pass through the fusion head unchanged, so
        that a segment's vector is its blocks."""
        blocks = segment_blocks(views_of(pool, modules, torch.device("cpu"))).numpy()  # (R, 3, 596)
        levels = np.asarray(pool["factors"])[:, list(AXES.values())].astype(np.int64)
        vectors = join(blocks)
        return cls(pool.settings, vectors, _values(vectors, axes, np.ones(3, bool)), levels)

    def showing(self, axes: Mapping[str, Axis], present: np.ndarray) -> Rendered:
        """The same where only those blocks are present, bool [3]."""
        return replace(self, values=_values(self.vectors, axes, present))

    def titles(self) -> WorldTitles:
        """The pool's own titles."""
        shape = (self.settings.titles, self.settings.segments_per_title)
        labels = np.array([title_of(self.settings, at).arc for at in range(self.settings.titles)])
        return WorldTitles(labels, {name: values.reshape(shape) for name, values in self.values.items()})

    def composed(self, wanted: LevelTitles, seed: int) -> WorldTitles:
        """Titles that the pool has not, each segment one of the pool's that has its levels, drawn by chance.

        Subject, setting and words change from segment to segment, so they are noisier than titles are.
        """
        rng = np.random.Generator(np.random.PCG64(seed))
        keys = self.levels @ (LEVELS, 1)  # (R,)
        chosen = np.empty(wanted.levels.shape[:2], np.int64)  # (n, S)
        for key in np.unique(asked := wanted.levels @ (LEVELS, 1)):
            rows = np.flatnonzero(keys == key)
            chosen[asked == key] = rng.choice(rows, int((asked == key).sum()))
        return WorldTitles(wanted.labels, {name: values[chosen] for name, values in self.values.items()})


def _values(vectors: np.ndarray, axes: Mapping[str, Axis], present: np.ndarray) -> dict[str, np.ndarray]:
    meter = AxisMeter({name: axes[name] for name in AXES})
    values = meter.values(vectors, np.broadcast_to(present, (len(vectors), 3)))  # (R, A)
    return {name: values[:, i] for i, name in enumerate(meter.names)}
