"""Pretrained picture encoders: uint8 frames in, preprocessing as in the checkpoint's own processor."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.graphs.pooling import masked_mean, projected, unit
from resonance.export.graphs.resize import bicubic_matrix, reduction_matrix
from resonance.export.graphs.signals import VisualSignals

RESAMPLERS = {"bilinear": reduction_matrix, "bicubic": bicubic_matrix}


class PretrainedVisualGraph(nn.Module):
    """FRAMES uint8 RGB [B, T, H, W, 3], FRAME_MASK bool [B, T], FRAME_TIMES fp32 [B, T] (s)
    -> VISUAL fp32 [B, 596], unit rows, and VISUAL_SIGNALS fp32 [B, 4].

    Each frame's vector is made unit before the mean, as it is where these encoders are compared.

    Args:
        encoder: [N, 3, h, w] -> [N, hidden], the vector that the checkpoint compares with text.
        frame_px: H = W of FRAMES; resize_px: the side it is scaled to; encoder_px: the side of the
            centre that is cut from that, h = w.
        resample: a key of RESAMPLERS.
        rescale, mean, std: (v * rescale - mean) / std for v in 0..255, as in the processor's config.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        hidden: int,
        width: int,
        frame_px: int,
        resize_px: int,
        encoder_px: int,
        resample: str,
        rescale: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.signals = VisualSignals()
        self.projection = nn.Linear(hidden, width, bias=False)
        self.resizes = not frame_px == resize_px == encoder_px
        margin = (resize_px - encoder_px) // 2
        matrix = RESAMPLERS[resample](frame_px, resize_px)[margin : margin + encoder_px]
        self.register_buffer("resize", matrix.contiguous(), persistent=False)  # (h, H)
        scale = rescale / np.asarray(std, dtype=np.float64)
        shift = -np.asarray(mean, dtype=np.float64) / np.asarray(std, dtype=np.float64)
        for name, values in (("scale", scale), ("shift", shift)):
            tensor = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def pixels(self, rgb: Tensor) -> Tensor:
        """What the encoder sees of `rgb` fp32 0..255 [N, 3, H, W]: fp32 [N, 3, h, w]."""
        if self.resizes:
            # a picture library holds whole grey levels after each of its two passes, rows first
            rgb = _grey_levels(rgb @ self.resize.T)  # (N, 3, H, w)
            rgb = _grey_levels(self.resize @ rgb)  # (N, 3, h, w)
        return rgb * self.scale + self.shift

    def forward(self, frames: Tensor, frame_mask: Tensor, frame_times: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        batch, count = frames.shape[0], frames.shape[1]
        rgb = frames.flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32)  # (B*T, 3, H, W)
        vectors = unit(self.encoder(self.pixels(rgb))).unflatten(0, (batch, count))  # (B, T, hidden)
        visual = unit(projected(self.projection, masked_mean(vectors, frame_mask)))  # (B, 596)
        return visual, self.signals(rgb, frame_mask, frame_times)


def _grey_levels(x: Tensor) -> Tensor:
    return torch.floor(x + 0.5).clamp(0.0, 255.0)
