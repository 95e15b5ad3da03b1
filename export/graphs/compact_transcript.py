"""The transcript encoder of the compact family."""

from __future__ import annotations

from torch import Tensor, nn

from resonance.export.graphs.compact import CompactText
from resonance.export.graphs.pooling import projected, unit


class CompactTranscriptGraph(nn.Module):
    """IDS int64 [B, L], MASK int64 [B, L] (1 for a token) -> TRANSCRIPT fp32 [B, 596], unit rows."""

    def __init__(self, encoder: CompactText, *, hidden: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(hidden, width, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        return unit(projected(self.projection, self.encoder(ids, mask)))  # (B, 596)
