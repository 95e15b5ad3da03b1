"""Encoder cards: one pretrained encoder, declared once; its graph follows from its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from resonance.export.cards import GraphCard, Tolerance
from resonance.export.checkpoints import Checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn


class Pooling(StrEnum):
    """From the states of all tokens to one vector."""

    MEAN = "masked mean"
    CLS = "first token"


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """One pretrained encoder.

    Attributes:
        name: of the card, unique.
        architecture: a key of `resonance.export.architectures.ARCHITECTURES`.
        checkpoint: hub id of its weights; `resonance export --checkpoint` puts a folder in its place.
        licence: of the weights.
        shared_space: encoders with the same value were trained into one space (two towers of one
            checkpoint); they get the same seeded projection, so that what is aligned stays aligned.
            Empty: a space of its own.
        pooling, prefix, max_tokens, lowercase: transcripts only. How tokens become one vector; the words
            that the model expects before every text; the longest row in tokens, special ones and prefix
            included; whether the model was trained on lower case and its tokenizer leaves that to its user.
    """

    name: str
    architecture: str
    checkpoint: str
    licence: str
    shared_space: str = ""
    pooling: Pooling | None = None
    prefix: str = ""
    max_tokens: int = 0
    lowercase: bool = False


@dataclass(frozen=True, slots=True)
class ServedText:
    """What a transcript encoder demands of the tokens it gets.

    Attributes:
        tokenizer: gives exactly the ids of the reference, prefix included; does not pad or truncate.
        description: of the tokenizer, for the descriptor.
        max_tokens: the longest row.
        token_buckets: lengths in which rows are sent, ascending, the last is `max_tokens`.
        special_tokens: tokens it adds to every text, prefix included.
    """

    tokenizer: Tokenizer
    description: str
    max_tokens: int
    token_buckets: tuple[int, ...]
    special_tokens: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A card met its checkpoint: configs were read and agree; weights are read by `build`."""

    build: Callable[[], nn.Module]
    preprocessing: Mapping[str, Any]
    text: ServedText | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of encoder.

    Attributes:
        model: the model of the contract it can fill.
        arguments: forward arguments of its graph, in the order of the model's inputs.
        prepare: reads the checkpoint's configs.
        tolerance: of the exported graph's outputs against torch.
        trimmed_by: see GraphCard.
    """

    model: str
    arguments: tuple[str, ...]
    prepare: Callable[[EncoderCard, Checkpoint], Prepared]
    tolerance: Mapping[str, Tolerance]
    trimmed_by: str | None = None


def graph_card(card: EncoderCard, architecture: Architecture, checkpoint: Checkpoint) -> tuple[
    GraphCard, ServedText | None
]:  # fmt: skip
    """The graph of `card` with weights from `checkpoint`, and what it demands of tokens.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another architecture.
    """
    prepared = architecture.prepare(card, checkpoint)
    graph = GraphCard(
        architecture.model,
        prepared.build,
        architecture.arguments,
        prepared.preprocessing,
        checkpoint.source,
        card.licence,
        architecture.tolerance,
        trimmed_by=architecture.trimmed_by,
    )
    return graph, prepared.text
