"""The fusion head that every family has, and how it starts."""

from __future__ import annotations

from typing import Any

from resonance.export.graphs.fusion import FusionGraph
from resonance.export.weights import seed_weights
from resonance.space.descriptor import BLOCK_WIDTH

#: Its inputs, by the names of the contract's tensors.
INPUTS = ("blocks", "present", "times")
OUTPUTS = ("TITLE", "SEGMENTS", "SALIENCE")
SHAPE: dict[str, Any] = {
    "inner": 128,
    "heads": 4,
    "time_frequencies": 16,
    "largest_correction": 0.3,
}


def new_fusion() -> FusionGraph:
    """The head with random weights, to be filled."""
    return FusionGraph(width=BLOCK_WIDTH, **SHAPE)


def seeded_fusion(seed: int) -> FusionGraph:
    """The head as training starts: its learned corrections are zero."""
    head = new_fusion()
    seed_weights(head, seed, zero=("infer", "correct"))
    return head.eval()
