"""All segments of a library in one place, and their blocks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resonance.space.descriptor import MODALITIES
from resonance.training.features import TitleFeatures

#: Of modalities, by their place.
PAIRS = tuple(combinations(range(len(MODALITIES)), 2))


@dataclass(frozen=True, slots=True)
class Segments:
    """Segments of titles: features by modality fp32 [R, hidden], present bool [R, 3], groups int64 [R],
    audited int64 [R, G] (see `TitleFeatures`; G may be 0), titles int64 [R]: which title each is of."""

    features: tuple[Tensor, ...]
    present: Tensor
    groups: Tensor
    audited: Tensor
    titles: Tensor

    @classmethod
    def of(cls, titles: list[TitleFeatures]) -> Segments:
        """Join titles; groups are numbered in the order of their names."""
        numbers = {name: number for number, name in enumerate(sorted({t.group for t in titles}))}
        lengths = [len(t.present) for t in titles]
        groups = np.repeat(np.array([numbers[t.group] for t in titles], np.int64), lengths)
        audited = np.repeat(np.array([t.audited for t in titles], np.int64), lengths, axis=0)  # (R, G)
        return cls(
            tuple(torch.from_numpy(np.concatenate([t.features[m] for t in titles])) for m in MODALITIES),
            torch.from_numpy(np.concatenate([t.present for t in titles])),
            torch.from_numpy(groups),
            torch.from_numpy(audited),
            torch.from_numpy(np.repeat(np.arange(len(titles)), lengths)),
        )

    def take(self, rows: Tensor) -> Segments:
        """Those of `rows`, bool [R] or int64 [n]; groups and titles keep their numbers."""
        return Segments(
            tuple(f[rows] for f in self.features),
            self.present[rows],
            self.groups[rows],
            self.audited[rows],
            self.titles[rows],
        )

    def to(self, device: torch.device) -> Segments:
        """The same on `device`."""
        return Segments(
            tuple(f.to(device) for f in self.features),
            self.present.to(device),
            self.groups.to(device),
            self.audited.to(device),
            self.titles.to(device),
        )


def project(projections: nn.ModuleList, features: tuple[Tensor, ...]) -> Tensor:
    """Features of R segments to unit blocks [R, 3, 596]."""
    blocks = [functional.normalize(p(f), dim=-1) for p, f in zip(projections, features, strict=True)]
    return torch.stack(blocks, dim=1)
