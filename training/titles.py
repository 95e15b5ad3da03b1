"""Blocks of titles of equal length, and the ways training and evaluation take them apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

#: Subsets of (visual, audio, transcript) that a title may be reduced to.
SUBSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))
#: What uploads come with, each as likely: words for four in seven.
UPLOADS = (*SUBSETS, (1, 1, 1))


@dataclass(frozen=True, slots=True)
class TitleBlocks:
    """Blocks of titles of equal length: blocks float [N titles, S, 3, 596] unit, present bool [N, S, 3],
    times_s float [N, S] from the title's start."""

    blocks: Tensor
    present: Tensor
    times_s: Tensor

    def __len__(self) -> int:
        return self.blocks.shape[0]

    @property
    def length(self) -> int:
        """Segments a title."""
        return self.blocks.shape[1]

    def __getitem__(self, rows: Tensor | slice) -> TitleBlocks:
        """Some of the titles."""
        return TitleBlocks(self.blocks[rows], self.present[rows], self.times_s[rows])

    def during(self, segments: slice) -> TitleBlocks:
        """Some of each title's segments."""
        return TitleBlocks(self.blocks[:, segments], self.present[:, segments], self.times_s[:, segments])

    def halves(self) -> tuple[TitleBlocks, TitleBlocks]:
        """The even and the odd segments, equally many."""
        length = self.length // 2 * 2
        return self.during(slice(0, length, 2)), self.during(slice(1, length, 2))

    def reordered(self, orders: Tensor) -> TitleBlocks:
        """Segments of each title in another order, int64 [N, S']; the times stay where they were."""
        rows = torch.arange(len(self), device=self.blocks.device).unsqueeze(1)  # (N, 1)
        return TitleBlocks(
            self.blocks[rows, orders], self.present[rows, orders], self.times_s[:, : orders.shape[1]]
        )

    def showing(self, present: Tensor) -> TitleBlocks:
        """With something else present, bool [N, S, 3] or what broadcasts to it."""
        return replace(self, present=present.expand_as(self.present))

    def to(self, device: torch.device) -> TitleBlocks:
        """On `device`."""
        return TitleBlocks(self.blocks.to(device), self.present.to(device), self.times_s.to(device))


def subset_masks(count: int, rng: np.random.Generator) -> Tensor:
    """A proper subset of the modalities for each of `count`, bool [count, 3]."""
    return torch.tensor(SUBSETS, dtype=torch.bool)[torch.from_numpy(rng.integers(len(SUBSETS), size=count))]


def narrowed(present: Tensor, to: Tensor) -> Tensor:
    """`present` bool [..., 3] cut down `to` some of it; a segment left with nothing keeps what it had."""
    left = present & to
    return torch.where(left.any(-1, keepdim=True), left, present)


def shuffled(length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random orders of `length` segments, none of them the order itself, int64 [count, length].

    Raises:
        ValueError: fewer than two segments have no other order.
    """
    if length < 2:
        raise ValueError(f"{length} segments cannot be shuffled; expected at least 2")
    orders: list[np.ndarray] = []
    while len(orders) < count:
        order = rng.permutation(length)
        if (order != np.arange(length)).any():
            orders.append(order)
    return np.stack(orders)
