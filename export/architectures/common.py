"""What every architecture does alike."""

from __future__ import annotations

from typing import Any

from torch import nn

from resonance.export.cards import Tolerance
from resonance.export.checkpoints import Checkpoint
from resonance.export.encoders import EncoderCard
from resonance.export.isometry import seed_projection

SEED = 596

EXACT = Tolerance(max_abs=1e-5, min_cosine=0.99999)
#: Signals carry units: hertz and decibels differ by more than unit vectors do.
SIGNAL = Tolerance(max_abs=0.05, min_cosine=0.99999)


def check_type(checkpoint: Checkpoint, config: Any, known: tuple[str, ...]) -> None:
    """Refuse a checkpoint of another architecture.

    Raises:
        CheckpointError: its model_type is none of `known`.
    """
    if config.model_type not in known:
        expected = " or ".join(known)
        raise checkpoint.unusable(f"is of type '{config.model_type}', the card expects {expected}")


def own_projection(graph: nn.Module, card: EncoderCard) -> nn.Module:
    """`graph` in eval mode with its `projection` seeded; the encoder's weights are left alone."""
    projection = graph.projection
    assert isinstance(projection, nn.Linear)
    seed_projection(projection, SEED, card.shared_space or card.name)
    return graph.eval()
