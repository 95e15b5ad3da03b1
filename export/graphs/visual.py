"""The visual encoder: uint8 frames in, one unit vector of the shared space out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.graphs.pooling import masked_mean, unit
from resonance.export.graphs.signals import VisualSignals


def reduction_matrix(size_in: int, size_out: int) -> Tensor:
    """Antialiased bilinear resampling of one axis as a matrix, float32 [size_out, size_in].

    The triangle filter is widened by the reduction and each row normalised, as in Pillow's BILINEAR.
    Computed in float64. As a matrix it gives the same numbers in every runtime; ONNX's antialiased
    Resize is not available in TensorRT.
    """
    scale = max(size_in / size_out, 1.0)
    centres = (np.arange(size_out, dtype=np.float64) + 0.5) * size_in / size_out  # (out,)
    taps = np.arange(size_in, dtype=np.float64) + 0.5  # (in,)
    weights = np.clip(1.0 - np.abs(taps[None, :] - centres[:, None]) / scale, 0.0, None)  # (out, in)
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32))


class VisualGraph(nn.Module):
    """FRAMES uint8 RGB [B, T, H, W, 3], FRAME_MASK bool [B, T], FRAME_TIMES fp32 [B, T] (s)
    -> VISUAL fp32 [B, 596], unit rows, and VISUAL_SIGNALS fp32 [B, 4].

    The signals stand in the same graph so that frames, the largest tensor of all, are moved once.

    Args:
        encoder: a transformers vision model whose `pooler_output` is [N, hidden].
        frame_px: H = W of FRAMES; encoder_px: the picture side the encoder takes.
        mean, std: normalisation of the picture in 0..1, as in the encoder's own processor.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        hidden: int,
        width: int,
        frame_px: int,
        encoder_px: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.signals = VisualSignals()
        self.projection = nn.Linear(hidden, width, bias=False)
        self.register_buffer("reduce", reduction_matrix(frame_px, encoder_px), persistent=False)
        # (v / 255 - mean) / std as one multiply and one add
        scale = 1.0 / (255.0 * np.asarray(std, dtype=np.float64))
        shift = -np.asarray(mean, dtype=np.float64) / np.asarray(std, dtype=np.float64)
        self.register_buffer(
            "scale", torch.tensor(scale, dtype=torch.float32).view(3, 1, 1), persistent=False
        )
        self.register_buffer(
            "shift", torch.tensor(shift, dtype=torch.float32).view(3, 1, 1), persistent=False
        )

    def forward(self, frames: Tensor, frame_mask: Tensor, frame_times: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        batch, count = frames.shape[0], frames.shape[1]
        rgb = frames.flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32)  # (B*T, 3, H, W)
        x = self.reduce @ rgb @ self.reduce.T  # (B*T, 3, h, w)
        x = x * self.scale + self.shift
        pooled = self.encoder(pixel_values=x).pooler_output  # (B*T, hidden)
        pooled = pooled.unflatten(0, (batch, count))  # (B, T, hidden)
        visual = unit(self.projection(masked_mean(pooled, frame_mask)))  # (B, 596)
        return visual, self.signals(rgb, frame_mask, frame_times)
