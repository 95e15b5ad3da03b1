"""The fusion head: blocks of segments in, complete segments, their salience and the title out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from resonance.export.graphs.layers import EXCLUDED, Block
from resonance.export.graphs.pooling import unit

#: Of the head that every family has.
SHAPE: dict[str, Any] = {
    "inner": 128,
    "heads": 4,
    "time_frequencies": 16,
    "largest_correction": 0.3,
}


class FusionGraph(nn.Module):
    """BLOCKS fp32 [N, 3, 596], PRESENT bool [N, 3], TIMES fp32 [N] (s) -> TITLE, SEGMENTS, SALIENCE.

    - SEGMENTS fp32 [N, 1788]: the three unit blocks side by side / sqrt(3). A present block passes
      through unchanged; an absent one is the normalised mean of the present ones plus a learned
      correction. Row i depends on row i of the inputs alone.
    - SALIENCE fp32 [N], sums to 1: the share of each segment in the title.
    - TITLE fp32 [1788]: block m is the normalised mean of the segments' blocks m, weighted by attention
      over time and modalities, plus a learned correction shorter than `largest_correction`. Segments in
      which modality m is present are pooled alone where there are any, so a block marked present rests
      on what was seen or heard.

    The corrections start at zero: untrained, an inferred block is exactly the normalised mean. Times
    enter as sines of seconds and of the position in the title, so the order of segments matters. The
    bound keeps a title near its segments where the head meets what it has never seen.
    """

    def __init__(
        self, *, width: int, inner: int, heads: int, time_frequencies: int, largest_correction: float
    ) -> None:
        super().__init__()
        self.largest_correction = largest_correction
        self.modalities = 3
        self.enter = nn.Linear(width, inner)
        self.modality = nn.Parameter(torch.zeros(3, inner))
        self.absent = nn.Parameter(torch.zeros(inner))
        self.within = Block(inner, heads)  # over the modalities of one segment
        self.across = Block(inner, heads)  # over the segments of one title
        self.time = nn.Linear(4 * time_frequencies, inner)
        self.infer = nn.Linear(inner, width)
        self.logit = nn.Linear(inner, 3)
        self.correct = nn.Linear(inner, 3 * width)
        # Periods from twice the title's length down to a sixteenth of it: finer ones would be noise in
        # titles of another number of segments; and from 4,096 s down to two segments of 8 s.
        share = torch.arange(time_frequencies, dtype=torch.float64) / max(time_frequencies - 1, 1)
        self.register_buffer("position_rate", (math.pi * 2.0 ** (5 * share)).float(), persistent=False)
        seconds_rate = 2 * math.pi / (4096.0 / 2.0 ** (8 * share))
        self.register_buffer("seconds_rate", seconds_rate.float(), persistent=False)

    def complete(self, blocks: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Unit blocks [N, 3, 596] with absent ones inferred, and the row attention's tokens [N, 3, D]."""
        here = present.to(blocks.dtype).unsqueeze(-1)  # (N, 3, 1)
        given = blocks * here
        tokens = self.enter(given) + self.modality + (1.0 - here) * self.absent  # (N, 3, D)
        tokens = self.within(tokens)
        mean = unit(given.sum(1, keepdim=True))  # (N, 1, 596)
        inferred = unit(mean + self.infer(tokens))  # (N, 3, 596)
        return unit(given) * here + inferred * (1.0 - here), tokens

    def time_codes(self, times_s: Tensor) -> Tensor:
        """Sines and cosines of position (0..1 of the title) and of seconds, [N] -> [N, 4F]."""
        since = times_s - times_s[:1]
        position = since / since.amax(0).clamp_min(1.0)
        angles = torch.cat(
            [position.unsqueeze(1) * self.position_rate, since.unsqueeze(1) * self.seconds_rate], dim=1
        )  # (N, 2F)
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)

    def forward(self, blocks: Tensor, present: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        complete, tokens = self.complete(blocks, present)  # (N, 3, 596), (N, 3, D)
        rows = tokens.mean(1) + self.time(self.time_codes(times))  # (N, D)
        rows = self.across(rows.unsqueeze(0)).squeeze(0)  # (N, D)

        logits = self.logit(rows)  # (N, 3)
        some = present.any(dim=0, keepdim=True)  # (1, 3)
        pooled_here = present | ~some  # (N, 3): present rows, or every row of a modality never present
        weights = torch.softmax(logits + torch.where(pooled_here, 0.0, EXCLUDED), dim=0)  # (N, 3)
        salience = weights.mean(1)  # (N,)

        pooled = (weights.unsqueeze(-1) * complete).sum(0)  # (3, 596)
        summary = (salience.unsqueeze(-1) * rows).sum(0)  # (D,)
        shift = self.correct(summary).unflatten(0, (self.modalities, -1))  # (3, 596)
        shift = shift * self.largest_correction / torch.sqrt(1.0 + (shift * shift).sum(1, keepdim=True))
        title = unit(unit(pooled) + shift)  # (3, 596)
        root3 = math.sqrt(self.modalities)
        return title.flatten() / root3, complete.flatten(1) / root3, salience
