"""Short-time spectra as fixed convolutions, so that sound is analysed the same in every runtime."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def dft_kernel(window_samples: int) -> Tensor:
    """Windowed DFT of `window_samples` real samples as a convolution kernel.

    Float32 [2 * bins, 1, window_samples] with bins = window_samples // 2 + 1; the first half holds the
    cosine, the second the sine rows, each times a periodic Hann window. Computed in float64.
    """
    n = np.arange(window_samples, dtype=np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window_samples)  # periodic
    bins = np.arange(window_samples // 2 + 1, dtype=np.float64)
    phase = 2 * np.pi * bins[:, None] * n[None, :] / window_samples  # (bins, window)
    kernel = np.concatenate([np.cos(phase), -np.sin(phase)]) * hann  # (2*bins, window)
    return torch.from_numpy(kernel.astype(np.float32)).unsqueeze(1)


def hz_to_mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """HTK's mel scale: 2595 log10(1 + f / 700)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz, dtype=np.float64) / 700.0))


def mel_matrix(bins: int, bands: int, sample_rate_hz: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular mel filters over power spectra, float32 [bins, bands]; equally spaced on `hz_to_mel`."""
    edges_mel = np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), bands + 2)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bin_hz = np.linspace(0.0, sample_rate_hz / 2, bins)
    rising = (bin_hz[:, None] - edges_hz[None, :-2]) / np.diff(edges_hz)[None, :-1]
    falling = (edges_hz[None, 2:] - bin_hz[:, None]) / np.diff(edges_hz)[None, 1:]
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0.0, None).astype(np.float32))


class PowerSpectrum(nn.Module):
    """PCM [B, S] -> power [B, frames, bins], frames = S // hop_samples.

    The end is padded with window - hop zeros so that the last frame is whole.
    """

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        self.bins = window_samples // 2 + 1
        self.tail = window_samples - hop_samples
        self.register_buffer("kernel", dft_kernel(window_samples), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """See the class."""
        x = nn.functional.pad(pcm, (0, self.tail)).unsqueeze(1)  # (B, 1, S + tail)
        spectrum = nn.functional.conv1d(x, self.kernel, stride=self.hop_samples)  # (B, 2*bins, frames)
        real, imag = spectrum[:, : self.bins], spectrum[:, self.bins :]
        return (real * real + imag * imag).transpose(1, 2)  # (B, frames, bins)


def valid_samples(pcm: Tensor, pcm_length: Tensor) -> Tensor:
    """Bool [B, S]: which samples of `pcm` [B, S] lie before `pcm_length` [B, 1]."""
    return torch.arange(pcm.shape[1], device=pcm.device).unsqueeze(0) < pcm_length
