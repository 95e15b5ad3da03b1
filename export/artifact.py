"""What an artifact in other numbers than fp32 is compared by, and the note that says what it became.

Shared by the 8-bit encoders (`resonance.export.quantise`) and the AOTInductor packages
(`resonance.export.aoti`): the same floor, the same figures, the same kind of file beside the artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from resonance.export import contract
from resonance.export.cards import GraphCard

#: Beside model.onnx; an artifact of another target has a note of its own name.
NOTE = "artifact.json"
AOTI_PACKAGE, AOTI_NOTE = "model.pt2", "artifact.aoti.json"
#: On a GPU outputs but the first may differ by this share of their value besides the card's tolerance, which
#: is for two runtimes on one processor: a GPU adds in another order.
GPU_RELATIVE = 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """One item of one encoder. `inputs`: each tensor of the model with a batch axis of 1."""

    label: str
    inputs: dict[str, np.ndarray]


@dataclass(slots=True)
class Trial:
    """How one candidate compared with fp32; `refused` says why it was not taken, or is empty.

    Attributes:
        min_cosine, max_abs: of the vector over all rows, each alone.
        batch_max_abs: between a row alone and the same row in a batch, the worst.
        speed: fp32's time over its time, median of rounds taken in turn, one thread, one item.
        fp32_layers: linear layers left in fp32, of `layers`.
    """

    artifact: str
    refused: list[str] = field(default_factory=list)
    min_cosine: float = 1.0
    worst_row: str = ""
    max_abs: float = 0.0
    batch_max_abs: float = 0.0
    size_bytes: int = 0
    speed: float = 1.0
    fp32_layers: int = 0
    layers: int = 0


@dataclass(slots=True)
class ArtifactReport:
    """What a graph became. `chosen` is the artifact now in the repository."""

    model: str
    chosen: str
    floor: float
    rows: int
    fp32_bytes: int
    trials: list[Trial] = field(default_factory=list)
    note: str = ""

    def taken(self) -> Trial | None:
        """The trial of the chosen artifact; None where fp32 stayed."""
        return next((t for t in self.trials if not t.refused), None)


def compare_values(
    trial: Trial,
    card: GraphCard,
    rows: Sequence[Row],
    expected: Sequence[Sequence[np.ndarray]],
    found: Sequence[Sequence[np.ndarray]],
    *,
    relative: float = 0.0,
) -> None:
    """Vectors to the card's floor, signals to their tolerance; what is off is added to `trial.refused`.

    Args:
        relative: this share of a signal's value is allowed besides.
    """
    outputs = contract.model(card.model).outputs
    for row, want, got in zip(rows, expected, found, strict=True):
        if not all(np.isfinite(values).all() for values in got):
            trial.refused.append(f"not finite on {row.label}")
            return
        worst = cosine(want[0], got[0])
        if worst < trial.min_cosine:
            trial.min_cosine, trial.worst_row = worst, row.label
        trial.max_abs = max(trial.max_abs, float(np.abs(want[0] - got[0]).max()))
        for tensor, a, b in zip(outputs[1:], want[1:], got[1:], strict=True):
            allowed = card.tolerance[tensor.name].max_abs
            differences = np.abs(a - b)
            if (differences > allowed + relative * np.abs(a)).any():
                trial.refused.append(
                    f"{tensor.name} differs by {differences.max():.1e} on {row.label} (allowed {allowed:.0e}"
                    + (f", and {relative:g} of the value)" if relative else ")")
                )
    if trial.min_cosine < card.artifact_floor:
        trial.refused.append(
            f"cosine {trial.min_cosine:.6f} on {trial.worst_row} (at least {card.artifact_floor:g})"
        )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors of any shape with D numbers, in float64."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-30))
