"""Transformer layers of our own: small, exportable, and the same with padding as without it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Added to the logits of what must not be attended to; softmax in fp32 makes it exactly zero weight.
EXCLUDED = -1e9


class Attention(nn.Module):
    """Multi-head self-attention over the second axis of [B, L, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, used: Tensor | None = None) -> Tensor:
        """[B, L, D], `used` bool [B, L] or all -> [B, L, D]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, L, d)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, h, L, L)
        if used is not None:
            logits = logits + torch.where(used, 0.0, EXCLUDED).unsqueeze(1).unsqueeze(1)
        weights = torch.softmax(logits, dim=-1).to(v.dtype)  # (B, h, L, L); the mask's zeros are fp32
        return self.out((weights @ v).transpose(1, 2).flatten(2))  # (B, L, D)


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, used: Tensor | None = None) -> Tensor:
        """[B, L, D], `used` bool [B, L] or all -> [B, L, D]."""
        x = x + self.attention(self.norm1(x), used)
        return x + self.mlp(self.norm2(x))
