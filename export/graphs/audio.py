"""The audio encoder: PCM in, one unit vector of the shared space out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resonance.export.graphs.pooling import masked_mean, unit
from resonance.export.graphs.signals import AudioSignals
from resonance.export.graphs.spectrum import PowerSpectrum, mel_matrix, valid_samples


class AudioGraph(nn.Module):
    """PCM fp32 [B, S], PCM_LENGTH int64 [B, 1] -> AUDIO fp32 [B, 596], unit rows, AUDIO_SIGNALS fp32 [B, 3].

    Samples past PCM_LENGTH are ignored, and so are the encoder's tokens that see only such samples.

    Args:
        encoder: a transformers ASTModel over [B, frames, bands] with `patch` x `patch` patches that do
            not overlap, two leading special tokens and patches ordered by band, then time.
        floor_db: power below this counts as this much.
        mean_db, range_db: the log-mel spectrum in dB is fed as (x - mean_db) / range_db.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        hidden: int,
        width: int,
        sample_rate_hz: int,
        window_samples: int,
        hop_samples: int,
        bands: int,
        low_hz: float,
        high_hz: float,
        patch: int,
        floor_db: float,
        mean_db: float,
        range_db: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.signals = AudioSignals(sample_rate_hz)
        self.projection = nn.Linear(hidden, width, bias=False)
        self.power = PowerSpectrum(window_samples, hop_samples)
        mel = mel_matrix(self.power.bins, bands, sample_rate_hz, low_hz, high_hz)
        self.register_buffer("mel", mel, persistent=False)
        self.patch_rows = bands // patch
        self.token_samples = hop_samples * patch
        self.power_floor = 10.0 ** (floor_db / 10.0)
        self.mean_db, self.range_db = mean_db, range_db

    def log_mel_db(self, pcm: Tensor, pcm_length: Tensor) -> Tensor:
        """Log-mel power in dB, [B, frames, bands]; at least `floor_db`."""
        pcm = pcm * valid_samples(pcm, pcm_length).to(pcm.dtype)
        return 10.0 * torch.log10((self.power(pcm) @ self.mel).clamp_min(self.power_floor))

    def forward(self, pcm: Tensor, pcm_length: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = (self.log_mel_db(pcm, pcm_length) - self.mean_db) / self.range_db  # (B, frames, bands)
        tokens = self.encoder(input_values=x).last_hidden_state[:, 2:]  # (B, rows*columns, hidden)
        columns = tokens.unflatten(1, (self.patch_rows, -1)).mean(1)  # (B, columns, hidden)
        starts = torch.arange(columns.shape[1], device=pcm.device).unsqueeze(0) * self.token_samples
        heard = starts < pcm_length.clamp_min(1)  # (B, columns), the first always
        audio = unit(self.projection(masked_mean(columns, heard)))  # (B, 596)
        return audio, self.signals(pcm, pcm_length)
