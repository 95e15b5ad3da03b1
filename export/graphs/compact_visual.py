"""The visual encoder of the compact family: frames and how they change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resonance.export.graphs.compact import CompactVision
from resonance.export.graphs.pooling import masked_mean, previous, projected, unit
from resonance.export.graphs.resize import reduction_matrix
from resonance.export.graphs.signals import VisualSignals


class CompactVisualGraph(nn.Module):
    """FRAMES uint8 RGB [B, T, H, W, 3], FRAME_MASK bool [B, T], FRAME_TIMES fp32 [B, T] (s)
    -> VISUAL fp32 [B, 596], unit rows, and VISUAL_SIGNALS fp32 [B, 4].

    The mean over frames cannot tell one shot from four; the mean absolute difference of neighbouring
    frames can, so both are projected. A single picture has no difference.

    Args:
        encoder: pixels in -1..1 to [N, hidden].
        frame_px: H = W of FRAMES; encoder_px: the picture side the encoder takes.
    """

    def __init__(
        self, encoder: CompactVision, *, hidden: int, width: int, frame_px: int, encoder_px: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.signals = VisualSignals()
        self.projection = nn.Linear(2 * hidden, width, bias=False)
        self.register_buffer("reduce", reduction_matrix(frame_px, encoder_px), persistent=False)

    def embed(self, pixels: Tensor, frame_mask: Tensor) -> Tensor:
        """Pixels 0..255 fp32 [B*T, 3, S, S] of the encoder's size, mask bool [B, T] -> VISUAL [B, 596]."""
        batch, count = frame_mask.shape
        pooled = self.encoder(pixels / 127.5 - 1.0).unflatten(0, (batch, count))  # (B, T, hidden)
        mask = frame_mask.to(pooled.dtype)
        both = mask * previous(mask)  # (B, T), 0 for the first
        change = masked_mean((pooled - previous(pooled)).abs(), both)  # (B, hidden)
        seen = torch.cat([masked_mean(pooled, frame_mask), change], dim=1)  # (B, 2*hidden)
        return unit(projected(self.projection, seen))  # (B, 596)

    def forward(self, frames: Tensor, frame_mask: Tensor, frame_times: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        rgb = frames.flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32)  # (B*T, 3, H, W)
        x = self.reduce @ rgb @ self.reduce.T  # (B*T, 3, h, w)
        return self.embed(x, frame_mask), self.signals(rgb, frame_mask, frame_times)
