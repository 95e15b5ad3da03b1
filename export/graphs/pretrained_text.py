"""Pretrained text encoders: token ids in, pooled as each checkpoint was trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resonance.export.graphs.pooling import masked_mean, projected, unit


class PooledTextGraph(nn.Module):
    """IDS int64 [B, L], MASK int64 [B, L] (1 for a token) -> TRANSCRIPT fp32 [B, 596], unit rows.

    Args:
        encoder: a transformers BERT-like model without pooling layer.
        first_token: take the state of the first token; else the mean over the mask.
        pad_id: stands where MASK is 0, for some models number positions by counting what is no padding.
    """

    def __init__(
        self, encoder: nn.Module, *, hidden: int, width: int, first_token: bool, pad_id: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(hidden, width, bias=False)
        self.first_token, self.pad_id = first_token, pad_id

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        ids = torch.where(mask > 0, ids, self.pad_id)
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, hidden)
        pooled = states[:, 0] if self.first_token else masked_mean(states, mask)  # (B, hidden)
        return unit(projected(self.projection, pooled))  # (B, 596)


class FixedLengthTextGraph(nn.Module):
    """IDS int64 [B, L], MASK int64 [B, L] (1 for a token) -> TRANSCRIPT fp32 [B, 596], unit rows.

    For SigLIP's text tower: it was trained on rows of one length, attends to the padding too, and its
    vector is read from the last position.

    Args:
        encoder: [B, length] -> [B, hidden].
        length: the row it was trained on; longer rows are cut, shorter ones padded with `pad_id`.
        pad_left: where the padding stands.
    """

    def __init__(
        self, encoder: nn.Module, *, hidden: int, width: int, length: int, pad_id: int, pad_left: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(hidden, width, bias=False)
        self.length, self.pad_id, self.pad_left = length, pad_id, pad_left

    def row(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The row the encoder sees, int64 [B, length]."""
        count = mask.sum(1, keepdim=True).clamp_max(self.length)  # (B, 1)
        padding = torch.full_like(ids[:, :1], self.pad_id).expand(-1, self.length)
        long = torch.cat([torch.where(mask > 0, ids, self.pad_id), padding], dim=1)  # (B, L + length)
        place = torch.arange(self.length, device=ids.device).unsqueeze(0)  # (1, length)
        source = place - (self.length - count) if self.pad_left else place.expand_as(padding)
        inside = (source >= 0) & (source < count)
        return torch.where(inside, torch.gather(long, 1, source.clamp_min(0)), self.pad_id)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        return unit(projected(self.projection, self.encoder(self.row(ids, mask))))  # (B, 596)
