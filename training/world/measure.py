"""What all figures of the space are made of: rows beside their yardsticks, recall, and titles fused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from resonance.training.fusion import fuse_batch
from resonance.training.titles import TitleBlocks


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure beside what it is to be compared with; all are shares of 1 or correlations."""

    name: str
    value: float
    chance: float
    oracle: float | None = None
    baselines: Mapping[str, float] | None = None


def recall(scores: torch.Tensor, targets: np.ndarray, k: int) -> float:
    """Share of rows of scores [Q, N] whose target is among the k best; ties, and scores that are NaN, count
    against it."""
    index = torch.from_numpy(np.asarray(targets))
    own = scores[torch.arange(len(index)), index].unsqueeze(1)  # (Q, 1)
    better = (~(scores < own)).sum(1) - 1
    return float((better < k).float().mean())


@torch.inference_mode()
def fuse_titles(fusion: nn.Module, titles: TitleBlocks) -> torch.Tensor:
    """TITLE of every title, [N, 1788], in chunks."""
    fusion = fusion.cpu()
    return torch.cat([fuse_batch(fusion, titles[i : i + 128])[0] for i in range(0, len(titles), 128)])


def concatenated(titles: TitleBlocks) -> torch.Tensor:
    """The baseline: mean blocks side by side, zero where absent, made unit; [N, 1788]."""
    here = titles.present.float().unsqueeze(-1)  # (N, S, 3, 1)
    mean = functional.normalize((titles.blocks * here).sum(1), dim=-1)  # (N, 3, 596)
    return functional.normalize(mean.flatten(1), dim=1)
