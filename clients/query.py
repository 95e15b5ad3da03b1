"""Examples into one query vector: each embedded as a title, their blocks put together by modality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resonance.clients.errors import NoModalityError, UsageError
from resonance.clients.results import MediaEmbedding, QueryEmbedding, Vector
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.space.scores import Weights, query_from_blocks

#: What counts of each kind of example; a clip counts with all that it has.
MODALITIES_OF_KIND: dict[str, frozenset[str]] = {
    "image": frozenset({"visual"}),
    "sound": frozenset({"audio"}),
    "text": frozenset({"transcript"}),
    "video": frozenset(MODALITIES),
}


@dataclass(frozen=True, slots=True)
class Example:
    """An embedded example: its kind, its title, how much it counts among others with the same modality.

    Raises:
        UsageError: an unknown kind, or a weight that is not a finite number above 0.
    """

    kind: str
    title: MediaEmbedding
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in MODALITIES_OF_KIND:
            known = ", ".join(MODALITIES_OF_KIND)
            raise UsageError(f"example of kind '{self.kind}'; expected one of {known}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UsageError(f"weight of the {self.kind} is {self.weight}; expected a finite number above 0")

    def blocks(self) -> dict[str, Vector]:
        """Unit blocks float32 [596] of the modalities that count and are there.

        Raises:
            NoModalityError: none is.
        """
        wanted = MODALITIES_OF_KIND[self.kind]
        rows = self.title.title.reshape(len(MODALITIES), -1) * np.float32(math.sqrt(len(MODALITIES)))
        found = {
            name: rows[m] for m, name in enumerate(MODALITIES) if name in wanted and self.title.present[m]
        }
        if not found:
            raise NoModalityError(
                self.title.media,
                f"{' + '.join(self.title.modalities)} alone, given as {self.kind}",
                f"something with {' or '.join(sorted(wanted))}",
            )
        return found


def query_of(examples: Sequence[Example], weights: Weights, descriptor: Descriptor) -> QueryEmbedding:
    """One query of all examples.

    Raises:
        UsageError: there is none. NoModalityError: see `Example.blocks`. SpaceError: see `space.scores`.
    """
    if not examples:
        raise UsageError("a query without an example; expected at least one picture, sound, text or clip")
    sums: dict[str, Vector] = {}
    for example in examples:
        for name, block in example.blocks().items():
            sums[name] = sums.get(name, np.zeros_like(block)) + np.float32(example.weight) * block
    query = query_from_blocks(sums, descriptor)
    space = examples[0].title.space
    return QueryEmbedding(
        vector=query.weighted(weights).astype(np.float32),
        unweighted=query.weighted(Weights()).astype(np.float32),
        present=(MODALITIES[0] in sums, MODALITIES[1] in sums, MODALITIES[2] in sums),
        space=space,
    )
