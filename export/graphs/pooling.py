"""Pieces every encoder graph ends with: masked means and unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Below this norm a vector has no direction; fp32 sums of 596 squares resolve far smaller values.
NORM_FLOOR = 1e-12


def unit(x: Tensor) -> Tensor:
    """`x` [..., D] divided by its L2 norm along the last axis."""
    return x / torch.sqrt((x * x).sum(-1, keepdim=True)).clamp_min(NORM_FLOOR)


def previous(x: Tensor) -> Tensor:
    """Of each frame of `x` [B, T, ...] the one before it, zeros before the first: [B, T, ...].

    As long as `x`, so that a single picture leaves no axis of length 0, which not every runtime takes.
    """
    before = [0, 0] * (x.dim() - 2) + [1, 0]  # padding is given from the last axis on
    return nn.functional.pad(x, before)[:, :-1]


def projected(projection: nn.Linear, rows: Tensor) -> Tensor:
    """`projection` of `rows` [B, hidden] -> [B, width], each row a function of itself alone, bit for bit.

    A row of zeros goes along: CPU kernels sum a matrix of ONE row in another order than one of many, so
    without it a text alone would differ in its last bits from the same text in a batch.
    """
    return projection(torch.cat([rows, torch.zeros_like(rows[:1])]))[:-1]  # (B + 1, width) -> (B, width)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` [B, T, D] over the T where `mask` [B, T] is true (or 1); a row without any gives zeros.

    The sum is a product of matrices, one a row: a reduction sums in another order where B is 1.
    """
    weight = mask.to(x.dtype).unsqueeze(1)  # (B, 1, T)
    return torch.bmm(weight, x).squeeze(1) / weight.sum(2).clamp_min(1.0)  # (B, D)
