"""Raising the sample rate inside a graph: a polyphase filter as one convolution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

#: Samples of the input on either side that an output sample is made of.
REACH = 64
#: Kaiser window: images of the signal are about 140 dB down, under what float32 resolves.
KAISER_BETA = 14.0
#: Where the filter is 6 dB down, as a share of the input's Nyquist frequency: 7.6 kHz of 8, flat to 7.2.
CUTOFF = 0.95


def polyphase_kernel(factor: int) -> np.ndarray:
    """Float64 [factor, 2 * REACH + 1]: row p makes the sample p / factor after each input sample.

    A windowed sinc; each row is normalised, so that a constant stays what it is.
    """
    taps = np.arange(-REACH, REACH + 1, dtype=np.float64)  # offsets of input samples
    x = taps[None, :] - np.arange(factor, dtype=np.float64)[:, None] / factor  # (factor, taps)
    inside = np.clip(1.0 - (x / (REACH + 1)) ** 2, 0.0, None)
    kernel = CUTOFF * np.sinc(CUTOFF * x) * np.i0(KAISER_BETA * np.sqrt(inside))
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


class Upsample(nn.Module):
    """PCM fp32 [B, S] -> fp32 [B, factor * S]; silence is taken to stand before and after."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        kernel = torch.from_numpy(polyphase_kernel(factor).astype(np.float32)).unsqueeze(1)
        self.register_buffer("kernel", kernel, persistent=False)  # (factor, 1, taps)

    def forward(self, pcm: Tensor) -> Tensor:
        """See the class."""
        phases = nn.functional.conv1d(pcm.unsqueeze(1), self.kernel, padding=REACH)  # (B, factor, S)
        return phases.transpose(1, 2).flatten(1)
