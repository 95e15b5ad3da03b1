"""Pieces every encoder graph ends with: masked means and unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

#: Below this norm a vector has no direction; fp32 sums of 596 squares resolve far smaller values.
NORM_FLOOR = 1e-12


def unit(x: Tensor) -> Tensor:
    """`x` [..., D] divided by its L2 norm along the last axis."""
    return x / torch.sqrt((x * x).sum(-1, keepdim=True)).clamp_min(NORM_FLOOR)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` [B, T, D] over the T where `mask` [B, T] is true; a row without any gives zeros."""
    weight = mask.to(x.dtype).unsqueeze(-1)  # (B, T, 1)
    return (x * weight).sum(1) / weight.sum(1).clamp_min(1.0)  # (B, D)
