"""The fusion head that every family has, and how it starts."""

from __future__ import annotations

from resonance.export.graphs.fusion import SHAPE, FusionGraph
from resonance.export.weights import seed_weights
from resonance.space.descriptor import BLOCK_WIDTH

#: Its inputs, by the names of the contract's tensors.
INPUTS = ("blocks", "present", "times")
OUTPUTS = ("TITLE", "SEGMENTS", "SALIENCE")


def new_fusion() -> FusionGraph:
    """The head with random weights, to be filled."""
    return FusionGraph(width=BLOCK_WIDTH, **SHAPE)


def seeded_fusion(seed: int) -> FusionGraph:
    """The head as training starts: its learned corrections are zero."""
    head = new_fusion()
    seed_weights(head, seed, zero=("infer", "correct"))
    return head.eval()
