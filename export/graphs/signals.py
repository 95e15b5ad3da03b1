"""Measured signals: what can be told from frames and sound without learning anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resonance.export.graphs.pooling import previous
from resonance.export.graphs.spectrum import PowerSpectrum, mel_matrix, valid_samples

#: Rec. 709 luma of gamma-coded RGB.
LUMA = (0.2126, 0.7152, 0.0722)
#: Mean absolute luma change (0..1) of a 14 x 14 thumbnail above which two frames are different shots.
CUT_CHANGE = 0.12
#: Analysis of sound for its signals: windows, steps between them, mel bands of the flux.
SIGNAL_WINDOW_S, SIGNAL_HOP_S, SIGNAL_BANDS = 0.025, 0.020, 32
#: Spectral flux above the window's mean flux by this many dB is an onset candidate.
ONSET_RISE_DB = 2.0


class VisualSignals(nn.Module):
    """Frames fp32 RGB 0..255 [B*T, 3, H, W], mask bool [B, T], times fp32 [B, T] (s) -> fp32 [B, 4].

    1. brightness: mean Rec. 709 luma, 0..1.
    2. colourfulness: M of Hasler and Suesstrunk (2003), "Measuring colourfulness in natural images",
       on 0..255 RGB averaged over 4 x 4 cells; about 0 (grey) to over 100.
    3. frame_change_per_s: mean absolute luma change of consecutive frames' 14 x 14 thumbnails, per second
       between them; -1 with fewer than two frames.
    4. frame_cut_rate_per_min: pairs of consecutive frames that change by more than CUT_CHANGE, a minute of
       the time they span; -1 with fewer than two frames.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor, frame_mask: Tensor, frame_times: Tensor) -> Tensor:
        """See the class."""
        batch, count = frame_mask.shape
        mask = frame_mask.to(torch.float32)  # (B, T)
        valid = mask.sum(1).clamp_min(1.0)  # (B,)
        rgb = nn.functional.avg_pool2d(rgb, 4)  # (B*T, 3, H/4, W/4)
        luma = (rgb * self.luma).sum(1, keepdim=True) / 255.0  # (B*T, 1, H/4, W/4)
        brightness = (luma.mean((1, 2, 3)).unflatten(0, (batch, count)) * mask).sum(1) / valid

        red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
        rg, yb = red - green, 0.5 * (red + green) - blue  # (B*T, H/4, W/4)
        axes = torch.stack([rg, yb], dim=1).flatten(2)  # (B*T, 2, cells)
        mean = axes.mean(-1)  # (B*T, 2)
        variance = ((axes - mean.unsqueeze(-1)) ** 2).mean(-1)  # (B*T, 2)
        colour = torch.sqrt(variance.sum(-1)) + 0.3 * torch.sqrt((mean * mean).sum(-1))  # (B*T,)
        colour = (colour.unflatten(0, (batch, count)) * mask).sum(1) / valid

        thumbs = nn.functional.avg_pool2d(luma, 4).flatten(1).unflatten(0, (batch, count))  # (B, T, cells)
        # every frame against the one before it; the first has none, and `pair` leaves it out
        change = (thumbs - previous(thumbs)).abs().mean(-1)  # (B, T)
        pair = mask * previous(mask)  # (B, T)
        gap_s = (frame_times - previous(frame_times)).clamp_min(1e-3)  # (B, T)
        pairs = pair.sum(1)  # (B,)
        span_s = (gap_s * pair).sum(1).clamp_min(1e-3)
        known = pairs > 0
        change_rate = torch.where(known, (change * pair).sum(1) / span_s, -1.0)
        cuts = ((change > CUT_CHANGE).to(torch.float32) * pair).sum(1)
        cut_rate = torch.where(known, 60.0 * cuts / span_s, -1.0)
        return torch.stack([brightness, colour, change_rate, cut_rate], dim=1)  # (B, 4)


class AudioSignals(nn.Module):
    """PCM fp32 [B, S], PCM_LENGTH int64 [B, 1] -> fp32 [B, 3].

    1. loudness_dbfs: RMS level, dB re full scale (a sine of amplitude 1 reads -3.01); floor -120.
    2. spectral_centroid_hz: power-weighted mean frequency of the window.
    3. onset_rate_hz: onsets a second; an onset is a local maximum over +-60 ms of the half-wave rectified
       log-power flux (mean over bands), ONSET_RISE_DB above the window's mean flux.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        hop_samples = round(SIGNAL_HOP_S * sample_rate_hz)
        self.sample_rate_hz, self.hop_samples = sample_rate_hz, hop_samples
        self.power = PowerSpectrum(round(SIGNAL_WINDOW_S * sample_rate_hz), hop_samples)
        bins = self.power.bins
        self.register_buffer("bin_hz", torch.linspace(0.0, sample_rate_hz / 2, bins), persistent=False)
        mel = mel_matrix(bins, SIGNAL_BANDS, sample_rate_hz, 30.0, sample_rate_hz / 2)
        self.register_buffer("mel", mel, persistent=False)
        self.reach = max(round(0.06 * sample_rate_hz / hop_samples), 1)

    def forward(self, pcm: Tensor, pcm_length: Tensor) -> Tensor:
        """See the class."""
        inside = valid_samples(pcm, pcm_length).to(pcm.dtype)  # (B, S)
        pcm = pcm * inside
        length = pcm_length.clamp_min(1).to(torch.float32)  # (B, 1)
        mean_square = (pcm * pcm).sum(1, keepdim=True) / length
        loudness = 10.0 * torch.log10(mean_square.clamp_min(1e-12))  # (B, 1)

        power = self.power(pcm)  # (B, frames, bins)
        spectrum = power.sum(1)  # (B, bins)
        centroid = (spectrum * self.bin_hz).sum(1, keepdim=True) / spectrum.sum(1, keepdim=True).clamp_min(
            1e-9
        )

        level_db = 10.0 * torch.log10((power @ self.mel).clamp_min(1e-6))  # (B, frames, bands)
        flux = (level_db[:, 1:] - level_db[:, :-1]).clamp_min(0.0).mean(-1)  # (B, frames-1)
        starts = torch.arange(flux.shape[1], device=pcm.device).unsqueeze(0) * self.hop_samples
        heard = ((starts + 2 * self.hop_samples) <= pcm_length).to(flux.dtype)  # (B, frames-1)
        flux = flux * heard
        mean_flux = flux.sum(1, keepdim=True) / heard.sum(1, keepdim=True).clamp_min(1.0)
        peak = nn.functional.max_pool1d(flux.unsqueeze(1), 2 * self.reach + 1, 1, self.reach).squeeze(1)
        onset = (flux >= peak) & (flux > mean_flux + ONSET_RISE_DB)
        rate = onset.to(torch.float32).sum(1, keepdim=True) * self.sample_rate_hz / length  # (B, 1)
        return torch.cat([loudness, centroid, rate], dim=1)  # (B, 3)
