"""CLAP's sound tower: HTSAT (Chen et al. 2022), a Swin transformer over a folded log-mel picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

#: Added where a shifted window must not look.
_APART = -100.0


@dataclass(frozen=True, slots=True)
class HtsatSize:
    """The tower's sizes; the defaults are `laion/clap-htsat-unfused`."""

    side: int = 256
    bands: int = 64
    patch: int = 4
    window: int = 8
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    projection: int = 512


class WindowAttention(nn.Module):
    """Attention within windows of `window`² tokens, with a learned bias by relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack([y.flatten(), x.flatten()])  # (2, w²)
        apart = places[:, :, None] - places[:, None, :] + window - 1  # (2, w², w²)
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1], persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens [B * windows, w², D], mask [windows, w², w²] or none -> [B * windows, w², D]."""
        bias = self.bias[self.index].permute(2, 0, 1).unsqueeze(0)  # (1, h, w², w²)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None:
            bias = bias + mask.to(bias.dtype).unsqueeze(1)  # (windows, h, w², w²)
            bias = bias.repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(x.shape[0], -1, -1, -1))
        return self.out(mixed.transpose(1, 2).flatten(2))


class SwinBlock(nn.Module):
    """One Swin layer over a square of `side`² tokens; every other one has its windows shifted by half."""

    def __init__(self, width: int, heads: int, window: int, side: int, *, shifted: bool) -> None:
        super().__init__()
        self.side, self.window = side, min(window, side)
        self.shift = window // 2 if shifted and side > window else 0
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, self.window)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        mask = shift_mask(side, self.window, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, side², D] -> [B, side², D]."""
        grid = self.norm1(x).unflatten(1, (self.side, self.side))  # (B, s, s, D)
        if self.shift:
            grid = torch.roll(grid, (-self.shift, -self.shift), (1, 2))
        mixed = self.attention(split(grid, self.window), self.mask)
        grid = join(mixed, self.side, self.window)
        if self.shift:
            grid = torch.roll(grid, (self.shift, self.shift), (1, 2))
        x = x + grid.flatten(1, 2)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Merge(nn.Module):
    """Four neighbouring tokens become one of twice the width: [B, s², D] -> [B, s²/4, 2 D]."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        grid = x.unflatten(1, (self.side // 2, 2, self.side // 2, 2))  # (B, s/2, 2, s/2, 2, D)
        return self.reduce(self.norm(grid.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)))


class Htsat(nn.Module):
    """Log-mel dB [B, 1, frames, bands] -> [B, projection]."""

    def __init__(self, size: HtsatSize) -> None:
        super().__init__()
        self.size = size
        self.batch_norm = nn.BatchNorm2d(size.bands)
        self.patch = nn.Conv2d(1, size.width, size.patch, stride=size.patch)
        self.patch_norm = nn.LayerNorm(size.width)
        layers: list[nn.Module] = []
        width, side = size.width, size.side // size.patch
        for stage, (depth, heads) in enumerate(zip(size.depths, size.heads, strict=True)):
            layers += [SwinBlock(width, heads, size.window, side, shifted=i % 2 == 1) for i in range(depth)]
            if stage < len(size.depths) - 1:
                layers.append(Merge(width, side))
                width, side = 2 * width, side // 2
        self.blocks = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.project1 = nn.Linear(width, size.projection)
        self.project2 = nn.Linear(size.projection, size.projection)

    def fold(self, mel: Tensor) -> Tensor:
        """Log-mel [B, 1, frames, bands] -> picture [B, 1, side, side]: stretches of time under each other."""
        size = self.size
        stretches = size.side // size.bands
        mel = self.batch_norm(mel.transpose(1, 3)).transpose(1, 3)
        mel = F.interpolate(mel, (size.side * stretches, size.bands), mode="bicubic", align_corners=True)
        parts = mel.squeeze(1).unflatten(1, (stretches, size.side))  # (B, n, side, bands)
        return parts.transpose(2, 3).flatten(1, 2).unsqueeze(1)

    def forward(self, mel: Tensor) -> Tensor:
        """See the class."""
        x = self.patch_norm(self.patch(self.fold(mel)).flatten(2).transpose(1, 2))  # (B, s², D)
        for block in self.blocks:
            x = block(x)
        return self.project2(F.relu(self.project1(self.norm(x).mean(1))))


def split(grid: Tensor, window: int) -> Tensor:
    """[B, s, s, D] -> [B * (s/w)², w², D]."""
    n = grid.shape[1] // window
    parts = grid.unflatten(2, (n, window)).unflatten(1, (n, window))  # (B, n, w, n, w, D)
    return parts.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def join(windows: Tensor, side: int, window: int) -> Tensor:
    """The reverse of `split`."""
    n = side // window
    parts = windows.unflatten(1, (window, window)).unflatten(0, (-1, n, n))  # (B, n, n, w, w, D)
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """What must not be attended to after a cyclic shift: float [windows, w², w²], 0 or `_APART`."""
    region = torch.zeros(1, side, side, 1)
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for i, rows in enumerate(cuts):
        for j, columns in enumerate(cuts):
            region[:, rows, columns] = 3 * i + j
    parts = split(region, window).squeeze(-1)  # (windows, w²)
    return torch.where(parts.unsqueeze(1) == parts.unsqueeze(2), 0.0, _APART)
