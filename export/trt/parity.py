"""Whether a network or an engine computes what the fp32 export computes on onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from resonance.export import contract
from resonance.export.artifact import GPU_RELATIVE, cosine
from resonance.export.cards import GraphCard
from resonance.export.contract import Model
from resonance.export.onnx_export import Arrays, make_inputs
from resonance.export.reference import Row
from resonance.export.trt.profiles import Profile

#: Batches, beside the reference rows, that every profile is run at on made-up inputs.
MADE_BATCHES = (1, 3)


class Runner(Protocol):
    """Something that computes a model's outputs, in the contract's order."""

    def __call__(self, inputs: Arrays) -> Sequence[np.ndarray]:
        """Outputs for `inputs`, batch axis first where the model has one."""


@dataclass(slots=True)
class Parity:
    """How a runner compared with fp32.

    Attributes:
        floor: the card's least cosine of a vector.
        rows: reference rows compared; `made` made-up batches.
        min_cosine, max_abs: of the model's first output, the worst, and where the cosine was worst.
        failures: everything that is out of bounds; empty means that the runner belongs to the space.
    """

    floor: float
    rows: int = 0
    made: int = 0
    min_cosine: float = 1.0
    worst: str = ""
    max_abs: float = 0.0
    failures: list[str] = field(default_factory=list)


def compare(
    card: GraphCard, expected: Runner, found: Runner, rows: Sequence[Row], profiles: Sequence[Profile]
) -> Parity:
    """Run both on the reference `rows` and on made-up inputs of every profile.

    `expected` is fp32 on onnxruntime.
    """
    model = contract.model(card.model)
    parity = Parity(card.artifact_floor, rows=len(rows))
    for row in rows:
        _compare_one(parity, card, row.label, expected(row.inputs), found(row.inputs))
    for label, inputs in made_inputs(model, profiles):
        parity.made += 1
        _compare_one(parity, card, label, expected(inputs), found(inputs))
    if parity.min_cosine < parity.floor:
        parity.failures.insert(
            0, f"cosine {parity.min_cosine:.6f} on {parity.worst} (at least {parity.floor:g})"
        )
    return parity


def made_inputs(model: Model, profiles: Sequence[Profile]) -> Iterator[tuple[str, Arrays]]:
    """Labelled random inputs at the preferred lengths of every profile that differs from those before it."""
    seen: list[Profile] = []
    for number, profile in enumerate(profiles):
        if profile in seen:
            continue
        seen.append(profile)
        axes = {
            axis: profile[t.name].preferred[place]
            for t in model.inputs
            for place, axis in enumerate(t.axes, start=1 if model.max_batch_size else 0)
            if isinstance(axis, str)
        }
        for batch in MADE_BATCHES:
            label = f"noise, profile {number}, batch {batch}"
            yield label, make_inputs(model, batch=batch, seed=number, axes=axes)


def edge_failures(model: Model, runner: Runner, profiles: Sequence[Profile], floor: float) -> list[str]:
    """Whether a runner takes the largest shapes of each profile, and computes row by row there what it
    computes for one row alone: a plan can be wrong in a kernel that only large batches reach."""
    failures = []
    for number, profile in enumerate(profiles):
        first = next(iter(profile.values()))
        most = first.maximum[0]
        axes = {
            axis: profile[t.name].maximum[place]
            for t in model.inputs
            for place, axis in enumerate(t.axes, start=1 if model.max_batch_size else 0)
            if isinstance(axis, str)
        }
        batch = make_inputs(model, batch=most, seed=number, axes=axes)
        together = runner(batch)
        where = f"profile {number}, {'batch' if model.max_batch_size else 'length'} {most}"
        if not all(np.isfinite(output).all() for output in together):
            failures.append(f"not finite at {where}")
            continue
        if not model.max_batch_size:
            continue
        for place in (0, most - 1):
            alone = runner({name: value[place : place + 1] for name, value in batch.items()})
            found = cosine(alone[0][0], together[0][place])
            if found < floor:
                failures.append(f"row {place} alone and at {where} have cosine {found:.6f}")
    return failures


def _compare_one(
    parity: Parity, card: GraphCard, label: str, want: Sequence[np.ndarray], got: Sequence[np.ndarray]
) -> None:
    model = contract.model(card.model)
    for tensor, a, b in zip(model.outputs, want, got, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            parity.failures.append(
                f"{tensor.name} on {label} is {b.dtype} {b.shape}, expected {a.dtype} {a.shape}"
            )
        elif not np.isfinite(b).all():
            parity.failures.append(f"{tensor.name} on {label} is not finite")
        elif tensor is model.outputs[0]:
            parity.max_abs = max(parity.max_abs, float(np.abs(a - b).max()))
            for x, y in zip(np.atleast_2d(a), np.atleast_2d(b), strict=True):
                found = cosine(x, y)
                if found < parity.min_cosine:
                    parity.min_cosine, parity.worst = found, label
        else:
            apart, allowed = np.abs(a - b), card.tolerance[tensor.name].max_abs + GPU_RELATIVE * np.abs(a)
            place = np.unravel_index(np.argmax(apart - allowed), apart.shape)
            if apart[place] > allowed[place]:
                parity.failures.append(
                    f"{tensor.name} on {label} is {b[place]:.6g}, expected {a[place]:.6g} "
                    f"(may differ by {allowed[place]:.1e})"
                )
