"""The audio encoder of the compact family: what it sounds like, how it swells, the shape of its melody."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resonance.export.graphs.compact import CompactSound, Contour, Rhythm
from resonance.export.graphs.pooling import masked_mean, unit
from resonance.export.graphs.signals import AudioSignals
from resonance.export.graphs.spectrum import PowerSpectrum, mel_matrix, valid_samples


class CompactAudioGraph(nn.Module):
    """PCM fp32 [B, S], PCM_LENGTH int64 [B, 1] -> AUDIO fp32 [B, 596], unit rows, AUDIO_SIGNALS fp32 [B, 3].

    Samples past PCM_LENGTH are ignored, and so are the encoder's tokens that see only such samples.

    Args:
        encoder: log-mel [B, frames, bands] to tokens over time [B, columns, hidden].
        contour: the melody's shape, [B, contour_steps, offsets].
        rhythm: how strongly the sound swells at each rate, [B, rates, groups].
        floor_db: power below this counts as this much.
        mean_db, range_db: the log-mel spectrum in dB is fed as (x - mean_db) / range_db.
    """

    def __init__(
        self,
        encoder: CompactSound,
        contour: Contour,
        rhythm: Rhythm,
        *,
        hidden: int,
        width: int,
        contour_steps: int,
        sample_rate_hz: int,
        window_samples: int,
        hop_samples: int,
        bands: int,
        low_hz: float,
        high_hz: float,
        floor_db: float,
        mean_db: float,
        range_db: float,
    ) -> None:
        super().__init__()
        self.encoder, self.contour, self.rhythm = encoder, contour, rhythm
        self.signals = AudioSignals(sample_rate_hz)
        self.power = PowerSpectrum(window_samples, hop_samples)
        mel = mel_matrix(self.power.bins, bands, sample_rate_hz, low_hz, high_hz)
        self.register_buffer("mel", mel, persistent=False)
        offsets = 2 * contour.reach + 1
        self.tune = nn.Sequential(
            nn.Flatten(),
            nn.Linear(contour_steps * offsets, 2 * hidden),
            nn.GELU(),
            nn.Linear(2 * hidden, hidden),
        )
        self.tune_norm = nn.LayerNorm(hidden)
        self.pulse = nn.Sequential(
            nn.Flatten(),
            nn.Linear(rhythm.rates * rhythm.groups, 2 * hidden),
            nn.GELU(),
            nn.Linear(2 * hidden, hidden),
        )
        self.pulse_norm = nn.LayerNorm(hidden)
        self.projection = nn.Linear(3 * hidden, width, bias=False)
        self.hop_samples = hop_samples
        self.power_floor = 10.0 ** (floor_db / 10.0)
        self.mean_db, self.range_db = mean_db, range_db

    def features(self, pcm: Tensor, pcm_length: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled log-mel [B, frames, bands] and contour [B, steps, offsets]: all that is not learned."""
        pcm = pcm * valid_samples(pcm, pcm_length).to(pcm.dtype)
        level_db = 10.0 * torch.log10((self.power(pcm) @ self.mel).clamp_min(self.power_floor))
        return (level_db - self.mean_db) / self.range_db, self.contour(pcm)

    def embed(self, mel: Tensor, contour: Tensor, pcm_length: Tensor) -> Tensor:
        """Features to AUDIO [B, 596]."""
        starts = self.hop_samples * torch.arange(mel.shape[1], device=mel.device)
        begun = starts.unsqueeze(0) < pcm_length.clamp_min(1)  # (B, frames), the first always
        heard = begun[:, :: CompactSound.STRIDE]  # (B, columns)
        tokens = self.encoder(mel, heard)  # (B, columns, hidden)
        tune = self.tune_norm(self.tune(contour))
        pulse = self.pulse_norm(self.pulse(self.rhythm(mel, begun)))
        heard_as = torch.cat([masked_mean(tokens, heard), tune, pulse], dim=1)  # (B, 3 * hidden)
        return unit(self.projection(heard_as))  # (B, 596)

    def forward(self, pcm: Tensor, pcm_length: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        mel, contour = self.features(pcm, pcm_length)
        return self.embed(mel, contour, pcm_length), self.signals(pcm, pcm_length)
