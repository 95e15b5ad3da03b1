"""Examples into one query vector: each embedded as a title, their blocks put together by modality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.errors import NoModalityError, UsageError
from resonance.clients.results import MediaEmbedding, QueryEmbedding, SpaceRef, Vector
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.space.errors import WeightError
from resonance.space.scores import Weights, query_from_blocks

#: What counts of each kind of example; a clip counts with all that it has.
MODALITIES_OF_KIND: dict[str, frozenset[str]] = {
    "image": frozenset({"visual"}),
    "sound": frozenset({"audio"}),
    "text": frozenset({"transcript"}),
    "video": frozenset(MODALITIES),
}


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An embedded example: its kind, its title, how much it counts among others with the same modality.

    Attributes:
        name: what errors call it. vector: float32 [1788]. present: which of its blocks are not inferred.

    Raises:
        UsageError: an unknown kind, or a weight that is not a finite number above 0.
    """

    kind: str
    name: str
    vector: Vector
    present: tuple[bool, bool, bool]
    weight: float = 1.0

    @classmethod
    def of(cls, kind: str, title: MediaEmbedding, weight: float = 1.0) -> Example:
        """A title that was embedded just now. Raises: see the class."""
        return cls(kind, title.media, title.title, title.present, weight)

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
        rows = self.vector.reshape(len(MODALITIES), -1) * np.float32(math.sqrt(len(MODALITIES)))  # (3, 596)
        found = {name: rows[m] for m, name in enumerate(MODALITIES) if name in wanted and self.present[m]}
        if not found:
            there = [name for name, here in zip(MODALITIES, self.present, strict=True) if here]
            raise NoModalityError(
                self.name,
                f"{' + '.join(there)} alone, given as {self.kind}",
                f"something with {' or '.join(sorted(wanted))}",
            )
        return found


def query_of(examples: Sequence[Example], weights: Weights, descriptor: Descriptor) -> QueryEmbedding:
    """One query of all examples. Errors: see `blocks_of`; SpaceError: see `space.scores`."""
    blocks = blocks_of(examples)
    query = query_from_blocks(blocks, descriptor)
    return QueryEmbedding(
        vector=_float32(query.weighted(weights), weights),
        unweighted=query.weighted(Weights()).astype(np.float32),
        present=(MODALITIES[0] in blocks, MODALITIES[1] in blocks, MODALITIES[2] in blocks),
        space=SpaceRef.of(descriptor),
    )


def _float32(vector: NDArray[np.float64], weights: Weights) -> Vector:
    """The vector as it is sent and stored.

    Raises:
        WeightError: float32 does not hold what the weights make of it.
    """
    with np.errstate(over="ignore"):  # told
        found = vector.astype(np.float32)
    if not np.isfinite(found).all() or (vector.any() and not found.any()):
        raise WeightError(f"{weights}: the vector is beyond float32; expected weights nearer to 1")
    return found


def blocks_of(examples: Sequence[Example]) -> dict[str, Vector]:
    """The weighted sum of the examples' unit blocks, float32 [596], by modality that any has; the largest
    weight of a modality counts 1 in it, for float32 does not hold each weight that float64 does.

    Raises:
        UsageError: there is no example. NoModalityError: see `Example.blocks`.
    """
    if not examples:
        raise UsageError("a query without an example; expected at least one picture, sound, text or clip")
    parts: dict[str, list[tuple[float, Vector]]] = {}
    for example in examples:
        for name, block in example.blocks().items():
            parts.setdefault(name, []).append((example.weight, block))
    sums: dict[str, Vector] = {}
    for name, of_modality in parts.items():
        largest = max(weight for weight, _ in of_modality)
        sums[name] = np.sum([np.float32(weight / largest) * block for weight, block in of_modality], axis=0)
    return sums
