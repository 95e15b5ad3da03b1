"""Compact encoders: convolutions first, few transformer layers after; they learn from little on a CPU.

Early convolutions make small vision transformers learn sooner (Xiao et al. 2021, "Early convolutions
help transformers see better").
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.graphs.layers import Block
from resonance.export.graphs.pooling import masked_mean, projected


class LocalContrast(nn.Module):
    """Pixels -1..1 [N, 3, S, S] -> [N, 9, S, S]: as they are, against their surroundings in units of the
    contrast there, and the colour of the surroundings.

    A dark picture has the contrast of a bright one after this, and a hue is a number: an encoder that had
    to learn both from scratch took six times as many steps to tell settings apart.

    Args:
        window_px: side of the surroundings, odd.
    """

    #: Contrast below this share of the range may be a codec's or a sensor's noise and is not to be raised.
    NOISE_FLOOR = 0.05
    MOST = 3.0

    def __init__(self, size_px: int, window_px: int) -> None:
        super().__init__()
        place = torch.arange(size_px)
        near = ((place[:, None] - place[None]).abs() <= window_px // 2).float()
        # the mean of a row of pixels is a product with this: it has the same value in every runtime
        self.register_buffer("mean", near / near.sum(1, keepdim=True), persistent=False)  # (S, S)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        light = pixels + 1.0  # 0..2
        mean = self.mean.to(light.dtype)
        around = mean @ light @ mean.T  # (N, 3, S, S)
        rest = light - around
        power = mean @ (rest * rest).mean(1, keepdim=True) @ mean.T  # (N, 1, S, S)
        contrast = rest / (power.clamp_min(0.0).sqrt() + self.NOISE_FLOOR)
        colour = around / (around.mean(1, keepdim=True) + 1e-3) - 1.0
        return torch.cat([pixels, contrast.clamp(-self.MOST, self.MOST), colour], dim=1)


class CompactVision(nn.Module):
    """Normalised pixels fp32 [N, 3, S, S], S a multiple of 16 -> [N, hidden]."""

    def __init__(self, *, hidden: int, layers: int, heads: int, size_px: int, contrast_px: int) -> None:
        super().__init__()
        self.contrast = LocalContrast(size_px, contrast_px)
        self.stem = nn.ModuleList(
            [
                nn.Conv2d(9, hidden // 2, 7, stride=4, padding=3, bias=False),
                nn.Conv2d(hidden // 2, hidden, 3, stride=2, padding=1, bias=False),
                nn.Conv2d(hidden, hidden, 3, stride=2, padding=1, bias=False),
            ]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c.out_channels) for c in self.stem)
        self.position = nn.Parameter(torch.zeros((size_px // 16) ** 2, hidden))
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(2 * hidden, hidden)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        x = self.contrast(pixels).contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.stem, self.norms, strict=True):
            x = nn.functional.gelu(norm(convolution(x)))  # (N, c, S/4, S/4), then a half and a half
        x = x.flatten(2).transpose(1, 2) + self.position  # (N, (S/16)^2, hidden)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        # the mean says what the picture is like, the largest what is somewhere in it
        mean = masked_mean(x, torch.ones_like(x[..., 0]))  # (B, hidden)
        return projected(self.out, torch.cat([mean, x.amax(1)], dim=1))


class CompactSound(nn.Module):
    """Scaled log-mel fp32 [B, frames, bands], frames a multiple of 16 -> one token a STRIDE frames."""

    STRIDES = (2, 4, 2)
    STRIDE = math.prod(STRIDES)

    def __init__(self, *, hidden: int, layers: int, heads: int, bands: int, frames: int) -> None:
        super().__init__()
        inputs = (bands, hidden, hidden)
        self.stem = nn.ModuleList(
            nn.Conv1d(i, hidden, 5, stride=s, padding=2) for i, s in zip(inputs, self.STRIDES, strict=True)
        )
        self.position = nn.Parameter(torch.zeros(frames // self.STRIDE, hidden))
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, mel: Tensor, heard: Tensor) -> Tensor:
        """[B, frames, bands] -> [B, frames / 16, hidden]; tokens attend to those in `heard`, bool [B, .]."""
        x = mel.transpose(1, 2)
        for convolution in self.stem:
            x = nn.functional.gelu(convolution(x))  # (B, hidden, frames / stride so far)
        x = x.transpose(1, 2) + self.position  # (B, frames / 16, hidden)
        for block in self.blocks:
            x = block(x, heard)
        return self.norm(x)


def semitone_kernel(lowest_hz: float, semitones: int, window_samples: int, sample_rate_hz: int) -> Tensor:
    """Hann-windowed complex tones one semitone apart, float32 [2 * semitones, 1, window]; cosines first.

    Scaled so that a sine of amplitude 1 at a bin's centre has power 1 there. Computed in float64.
    """
    n = np.arange(window_samples, dtype=np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window_samples)
    hz = lowest_hz * 2.0 ** (np.arange(semitones) / 12.0)
    phase = 2 * np.pi * hz[:, None] * n[None, :] / sample_rate_hz  # (semitones, window)
    kernel = np.concatenate([np.cos(phase), -np.sin(phase)]) * hann * (2.0 / hann.sum())
    return torch.from_numpy(kernel.astype(np.float32)).unsqueeze(1)


class Contour(nn.Module):
    """PCM fp32 [B, S] -> the melody's shape whatever its key, fp32 [B, steps, 2 * reach + 1].

    Per step and semitone the level above that semitone's own mean over the window (steady sound
    vanishes), correlated with the window's pitch profile at offsets of -reach..reach semitones. A melody
    in another key has the same correlation.
    """

    FLOOR_DB, RANGE_DB = -60.0, 20.0
    #: What no tone stands out of has a tenth of this; a melody has 0.015 and more.
    QUIET = 0.01

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        lowest_hz: float,
        semitones: int,
        window_samples: int,
        hop_samples: int,
        hops_a_step: int,
        reach: int,
    ) -> None:
        super().__init__()
        self.window_samples, self.hop_samples, self.hops_a_step = window_samples, hop_samples, hops_a_step
        self.semitones, self.reach = semitones, reach
        kernel = semitone_kernel(lowest_hz, semitones, window_samples, sample_rate_hz)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """See the class; S is a multiple of hop * hops_a_step."""
        x = nn.functional.pad(pcm, (0, self.window_samples - self.hop_samples)).unsqueeze(1)
        tones = nn.functional.conv1d(x, self.kernel, stride=self.hop_samples)  # (B, 2*P, hops)
        power = tones[:, : self.semitones] ** 2 + tones[:, self.semitones :] ** 2  # (B, P, hops)
        level = 10.0 * torch.log10(power.clamp_min(10.0 ** (self.FLOOR_DB / 10.0))) / self.RANGE_DB
        level = nn.functional.avg_pool1d(level, self.hops_a_step)  # (B, P, steps)
        rise = (level - level.mean(2, keepdim=True)).clamp_min(0.0)
        # of neighbouring semitones one tone raises several: keep what is above their mean
        around = nn.functional.avg_pool1d(rise.transpose(1, 2), 5, 1, 2).transpose(1, 2)
        rise = (rise - around).clamp_min(0.0)  # (B, P, steps)
        profile = rise.mean(2)  # (B, P)
        padded = nn.functional.pad(profile, (self.reach, self.reach))  # (B, P + 2*reach)
        shifted = torch.stack(
            [padded[:, k : k + self.semitones] for k in range(2 * self.reach + 1)], dim=1
        )  # (B, D, P): row k is the profile moved by k - reach
        matched = (shifted @ rise).transpose(1, 2)  # (B, steps, D)
        power = (matched * matched).mean((1, 2), keepdim=True)
        return matched / torch.sqrt(power + self.QUIET**2)


class Rhythm(nn.Module):
    """Log-mel [B, frames, bands] -> how strongly what is heard swells at each rate, fp32 [B, rates, groups].

    The modulation spectrum (Greenberg and Kingsbury 1997, "The modulation spectrogram") of the whole window:
    the envelope of neighbouring bands together, over the mean of all; the power of that by frequency, of
    several neighbouring ones together; its logarithm. When something sounds within the window changes
    nothing, nor does how loud it is. Without it the encoder learned what a call is like and next to nothing
    of how calls are grouped.

    Args:
        frames: of the window. frames_a_s: how many of them are a second.
        decades: of power, that 1 of the scaled log-mel is.
        groups: of neighbouring bands. lowest_hz: the first frequency, and the distance of all.
        highest_hz: the last. at_once: frequencies that make a rate.
    """

    #: Envelopes are power to this: what stands out counts more than its logarithm does, by which a linear
    #: reader told the grouping of calls in 0.82 of the clips and in 0.95 by this; pace is read best at 0.5.
    POWER = 0.75
    #: A swing of 0.6% of the mean of all has this power.
    QUIET = 1e-5
    #: Powers lie about this many decades from 1.
    DECADES = -3.0

    def __init__(
        self,
        *,
        bands: int,
        frames: int,
        frames_a_s: float,
        decades: float,
        groups: int,
        lowest_hz: float,
        highest_hz: float,
        at_once: int,
    ) -> None:
        super().__init__()
        self.at_once, self.exponent = at_once, self.POWER * decades * math.log(10.0)
        self.rates, self.groups = round(highest_hz / lowest_hz) // at_once, groups
        hz = lowest_hz * np.arange(1, self.rates * at_once + 1)
        phase = 2 * np.pi * hz[:, None] * np.arange(frames)[None] / frames_a_s  # (frequencies, frames)
        waves = np.stack([np.cos(phase), np.sin(phase)]).astype(np.float32)
        self.register_buffer("waves", torch.from_numpy(waves).flatten(0, 1), persistent=False)
        together = np.repeat(np.eye(groups), bands // groups, axis=0) * (groups / bands)
        self.register_buffer("together", torch.from_numpy(together.astype(np.float32)), persistent=False)

    def forward(self, mel: Tensor, heard: Tensor) -> Tensor:
        """See the class; `heard`, bool [B, frames], is true of at least one frame."""
        used = heard.to(mel.dtype).unsqueeze(2)  # (B, frames, 1)
        envelope = torch.exp(self.exponent * mel) @ self.together.to(mel.dtype)  # (B, frames, groups)
        mean = masked_mean(envelope, heard).unsqueeze(1)  # (B, 1, groups)
        swing = (envelope - mean) * used / mean.mean(2, keepdim=True)
        parts = (self.waves.to(mel.dtype) @ swing).float() / used.float().sum(1, keepdim=True)
        power = (parts * parts).unflatten(1, (2, self.rates, self.at_once)).sum((1, 3))  # (B, rates, groups)
        return torch.log10(power + self.QUIET) - self.DECADES


class CompactText(nn.Module):
    """Bytes as IDS int64 [B, L], MASK [B, L] -> [B, hidden]; padding changes nothing.

    Every position adds the embeddings of the byte n-grams that end there, by hash (as fastText does),
    so that whole words are told apart from the first step of training; four positions then make a token.
    """

    #: Multiplier and modulus of the rolling hash; odd and prime, small enough that int64 never overflows.
    FACTOR, STRIDE = 8191, 4

    log_lengths: Tensor

    def __init__(
        self,
        *,
        hidden: int,
        layers: int,
        heads: int,
        ids: int,
        max_tokens: int,
        ngrams: tuple[int, ...],
        buckets: int,
    ) -> None:
        super().__init__()
        self.ngrams, self.buckets = ngrams, buckets
        self.byte_embedding = nn.Embedding(ids, hidden)
        self.ngram_embedding = nn.Embedding(len(ngrams) * buckets, hidden)
        self.stem = nn.Conv1d(hidden, hidden, 5, stride=self.STRIDE, padding=2)
        self.position = nn.Parameter(torch.zeros(max_tokens // self.STRIDE, hidden))
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.length = nn.Linear(1, hidden)
        self.norm = nn.LayerNorm(hidden)
        # a table: the CPU's logarithm of one number differs in its last bit from that among many
        logs = torch.log1p(torch.arange(max_tokens + 1)) / 5.0  # (max_tokens + 1,)
        self.register_buffer("log_lengths", logs, persistent=False)

    def hashes(self, ids: Tensor) -> Tensor:
        """Buckets of the n-grams that end at each position, int64 [B, L, len(ngrams)]."""
        columns = []
        for row, n in enumerate(self.ngrams):
            code = torch.zeros_like(ids)
            for back in range(n):
                shifted = nn.functional.pad(ids, (back, 0))[:, : ids.shape[1]]
                code = (code * self.FACTOR + shifted + 1) % 1_000_003
            columns.append(code % self.buckets + row * self.buckets)
        return torch.stack(columns, dim=2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        used = mask.to(self.position.dtype)  # (B, L)
        ids = ids * mask
        x = self.byte_embedding(ids) + self.ngram_embedding(self.hashes(ids)).sum(2)  # (B, L, hidden)
        x = (x * used.unsqueeze(-1)).transpose(1, 2)  # (B, hidden, L)
        x = nn.functional.gelu(self.stem(x)).transpose(1, 2)  # (B, L/4, hidden)
        count = used.sum(1, keepdim=True)  # (B, 1)
        # padding stands at the end, so a token is used where its first byte is
        some = self.STRIDE * torch.arange(x.shape[1], device=x.device) < count  # (B, L/4)
        x = x + self.position[: x.shape[1]]
        for block in self.blocks:
            x = block(x, some)
        length = projected(self.length, self.log_lengths[mask.sum(1, keepdim=True)])  # (B, hidden)
        return self.norm(masked_mean(x, some) + length)
