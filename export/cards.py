"""Cards: what a family of encoders is, declared once; export, descriptor and validation follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resonance.export.axes import DEFAULT_AXES

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from resonance.space.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an artifact may differ from the torch graph it was exported from."""

    max_abs: float
    min_cosine: float


@dataclass(frozen=True, slots=True)
class GraphCard:
    """One exported graph of a family.

    Attributes:
        model: the model of `resonance.export.contract` that it fills.
        build: makes the torch module, weights in place, in eval mode.
        arguments: its forward arguments, in the order of the model's inputs.
        preprocessing: constants baked into the graph; part of the space's fingerprint.
        source, licence: of the weights.
        tolerance: of each output against torch, on the CPU.
        artifact_floor: least cosine with fp32, on reference media, of an artifact in fewer bits; below
            it the vectors are another space's.
        trimmed_by: an input [B, L] of ones and zeros; what stands where it is zero changes no output, so
            columns in which it is zero for every row may be left out. Written into the ONNX file.
    """

    model: str
    build: Callable[[], nn.Module]
    arguments: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    source: str
    licence: str
    tolerance: Mapping[str, Tolerance]
    artifact_floor: float = 0.999
    trimmed_by: str | None = None


@dataclass(frozen=True, slots=True)
class FamilyCard:
    """A set of graphs that make one space.

    `describe(weights)` gives the descriptor for the sha256 of each graph's weights, by model name.
    `reference` is the reference set (an .npz, see `resonance.space.reference`) that sigmas and axes are
    calibrated on; None for a family that is not trained, whose sigmas stay 1 and which has no axes.
    `axes` is the file of axes that it is calibrated on unless another is asked for.
    """

    name: str
    summary: str
    graphs: tuple[GraphCard, ...]
    tokenizer: Callable[[], Tokenizer]
    describe: Callable[[Mapping[str, str]], Descriptor]
    reference: Path | None = None
    axes: Path = DEFAULT_AXES


@dataclass(frozen=True, slots=True)
class FamilyRecipe:
    """A family that becomes a card once its checkpoints are at hand.

    Attributes:
        models: the graphs a checkpoint can be chosen for.
        resolve: the card, with these checkpoints (folder or hub id, by model) for the recipe's own;
            raises CheckpointError.
    """

    name: str
    summary: str
    models: tuple[str, ...]
    resolve: Callable[[Mapping[str, str]], FamilyCard]


@dataclass(slots=True)
class TensorReport:
    """Worst differences of one output over all checked shapes."""

    name: str
    max_abs: float = 0.0
    min_cosine: float = 1.0


@dataclass(slots=True)
class GraphReport:
    """What an export produced and how it compared."""

    model: str
    parameters: int
    size_bytes: int
    seconds: float
    weights_sha256: str
    tensors: list[TensorReport] = field(default_factory=list)
