"""The transcript encoder: token ids in, one unit vector of the shared space out."""

from __future__ import annotations

from torch import Tensor, nn

from resonance.export.graphs.pooling import masked_mean, unit


class TranscriptGraph(nn.Module):
    """IDS int64 [B, L], MASK int64 [B, L] (1 for a token) -> TRANSCRIPT fp32 [B, 596], unit rows.

    `encoder` is a transformers BERT-like model; its last hidden states are averaged over the mask.
    """

    def __init__(self, encoder: nn.Module, *, hidden: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(hidden, width, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, hidden)
        return unit(self.projection(masked_mean(states, mask)))  # (B, 596)
