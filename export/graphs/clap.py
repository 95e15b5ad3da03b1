"""CLAP's audio encoder: 16 kHz PCM in, preprocessing as in the checkpoint's own feature extractor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resonance.export.graphs.pooling import unit
from resonance.export.graphs.resample import Upsample
from resonance.export.graphs.signals import AudioSignals
from resonance.export.graphs.spectrum import dft_kernel, valid_samples

#: Power below this counts as this much, as in the reference.
POWER_FLOOR = 1e-10


class ClapGraph(nn.Module):
    """PCM fp32 [B, S], PCM_LENGTH int64 [B, 1] -> AUDIO fp32 [B, 596], unit rows, AUDIO_SIGNALS fp32 [B, 3].

    Sound shorter than the encoder's clip is repeated whole and then padded with silence (``repeatpad``),
    repeated to its end (``repeat``) or padded alone (``pad``). Samples past PCM_LENGTH are never heard.

    Args:
        encoder: log-mel dB [B, 1, frames, bands] -> [B, hidden], the vector that the checkpoint compares
            with text.
        sample_rate_hz: of PCM; encoder_rate_hz: of the encoder, a multiple of it.
        clip_samples: length of the encoder's clip at its own rate.
        window_samples, hop_samples: of the analysis, centred windows, ends mirrored.
        mel: filters float [window_samples // 2 + 1, bands] over power.
        padding: ``repeatpad``, ``repeat`` or ``pad``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        hidden: int,
        width: int,
        sample_rate_hz: int,
        encoder_rate_hz: int,
        clip_samples: int,
        window_samples: int,
        hop_samples: int,
        mel: Any,
        padding: str,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.signals = AudioSignals(sample_rate_hz)
        self.projection = nn.Linear(hidden, width, bias=False)
        self.factor = encoder_rate_hz // sample_rate_hz
        self.upsample: nn.Module = Upsample(self.factor) if self.factor > 1 else nn.Identity()
        self.clip_samples, self.hop_samples, self.padding = clip_samples, hop_samples, padding
        self.margin = window_samples // 2
        self.bins = window_samples // 2 + 1
        self.register_buffer("kernel", dft_kernel(window_samples), persistent=False)
        self.register_buffer("mel", torch.as_tensor(mel, dtype=torch.float32), persistent=False)

    def clip(self, pcm: Tensor, pcm_length: Tensor) -> Tensor:
        """The encoder's clip fp32 [B, clip_samples] at its own rate."""
        pcm = pcm * valid_samples(pcm, pcm_length).to(pcm.dtype)
        sound = self.upsample(pcm)  # (B, factor * S)
        length = (pcm_length.clamp_min(1) * self.factor).clamp_max(self.clip_samples)  # (B, 1)
        index = torch.arange(self.clip_samples, device=pcm.device).unsqueeze(0)  # (1, clip)
        if self.padding == "repeatpad":
            whole = torch.full_like(length, self.clip_samples)
            covered = whole - whole % length  # (B, 1), whole repeats
        else:
            covered = length if self.padding == "pad" else torch.full_like(length, self.clip_samples)
        repeated = torch.gather(sound, 1, index % length)  # (B, clip)
        return repeated * (index < covered).to(sound.dtype)

    def log_mel_db(self, clip: Tensor) -> Tensor:
        """Log-mel power in dB of `clip` [B, clip_samples]: [B, 1, clip_samples // hop + 1, bands]."""
        x = nn.functional.pad(clip.unsqueeze(1), (self.margin, self.margin), mode="reflect")
        spectrum = nn.functional.conv1d(x, self.kernel, stride=self.hop_samples)  # (B, 2*bins, frames)
        real, imag = spectrum[:, : self.bins], spectrum[:, self.bins :]
        power = (real * real + imag * imag).transpose(1, 2)  # (B, frames, bins)
        return 10.0 * torch.log10((power @ self.mel).clamp_min(POWER_FLOOR)).unsqueeze(1)

    def forward(self, pcm: Tensor, pcm_length: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = self.log_mel_db(self.clip(pcm, pcm_length))  # (B, 1, frames, bands)
        audio = unit(self.projection(self.encoder(features)))  # (B, 596)
        return audio, self.signals(pcm, pcm_length)
