"""Whether a package gives what fp32 torch gives: row by row, in odd batches, at every shape."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.aoti_compile import fp32_means_fp32
from resonance.export.artifact import GPU_RELATIVE, Row, Trial, compare_values, cosine
from resonance.export.cards import GraphCard
from resonance.export.contract import Model
from resonance.export.onnx_export import make_inputs

#: Shapes that every package is run at before it counts, besides the reference's: batch and named axes.
CHECKED_AXES: Mapping[str, Sequence[Mapping[str, int]]] = {
    "visual_encoder": ({"frames": 1}, {"frames": 4}, {"frames": 16}),
    "transcript_encoder": ({"tokens": 32}, {"tokens": 64}),
}
CHECKED_BATCHES = (1, 3, 5)
CHECKED_SEGMENTS = (1, 2, 3, 40)
#: A row alone and in a batch: in fp32 this much in any number (times its magnitude above 1), in half
#: precision, whose products are split differently by batch, this cosine.
INDEPENDENCE, HALF_INDEPENDENCE = 1e-5, 0.9999
_SPEED_ROUNDS = 5


def judge(
    trial: Trial,
    card: GraphCard,
    model: Model,
    rows: Sequence[Row],
    expected: Sequence[Sequence[np.ndarray]],
    run: Callable[..., Sequence[Tensor]],
    fp32: nn.Module,
    device: str,
    dtype: torch.dtype,
) -> None:
    """Compare with fp32 row by row, rows with themselves in a batch, and time it against eager fp32."""
    alone = [outputs_of(run, model, row.inputs, device) for row in rows]
    slack = GPU_RELATIVE if device == "cuda" else 0.0
    compare_values(trial, card, rows, expected, alone, relative=slack)
    if model.max_batch_size:
        _judge_batches(trial, model, run, device, dtype)
    eager = fp32.to(device)
    ratios = []
    for i in range(_SPEED_ROUNDS + 1):  # the first warms up
        inputs = rows[i % len(rows)].inputs
        ratios.append(_seconds(eager, model, inputs, device) / _seconds(run, model, inputs, device))
    trial.speed = statistics.median(ratios[1:])
    fp32.to("cpu")


def _judge_batches(
    trial: Trial, model: Model, run: Callable[..., Sequence[Tensor]], device: str, dtype: torch.dtype
) -> None:
    """Each row of odd batches against itself alone."""
    worst, least = 0.0, 1.0
    for axes in CHECKED_AXES.get(model.name, ({},)):
        for batch in CHECKED_BATCHES:
            inputs = make_inputs(model, batch=batch, seed=100 + batch, axes=axes)
            together = outputs_of(run, model, inputs, device)
            for row in range(batch):
                one = outputs_of(run, model, {k: v[row : row + 1] for k, v in inputs.items()}, device)
                least = min(least, cosine(one[0][0], together[0][row]))
                for a, b in zip(one, together, strict=True):
                    apart = np.abs(a[0] - b[row]) / np.maximum(1.0, np.abs(a[0]))
                    worst = max(worst, float(apart.max()))
    trial.batch_max_abs = worst
    if dtype is torch.float32 and not worst <= INDEPENDENCE:
        trial.refused.append(f"a row alone and in a batch differ by {worst:.1e} (at most {INDEPENDENCE:.0e})")
    if not least >= HALF_INDEPENDENCE:
        trial.refused.append(f"a row alone and in a batch: cosine {least:.6f} (at least {HALF_INDEPENDENCE})")


def made_up_rows(model: Model) -> list[Row]:
    """Fresh random inputs, each alone; for a model without a batch axis, of several lengths."""
    cases: list[tuple[Mapping[str, int], int]]
    if model.max_batch_size == 0:
        cases = [({}, n) for n in CHECKED_SEGMENTS]
    else:
        cases = [(axes, 1) for axes in CHECKED_AXES.get(model.name, ({}, {}))]
    return [
        Row(f"random {i}", make_inputs(model, batch=n, seed=int(time.time()) + i, axes=axes))
        for i, (axes, n) in enumerate(cases)
    ]


def outputs_of(
    function: Callable[..., Any], model: Model, inputs: Mapping[str, np.ndarray], device: str
) -> list[np.ndarray]:
    """Outputs as arrays, whatever runs: a torch module or a package."""
    with torch.inference_mode(), fp32_means_fp32():
        out = function(*(torch.from_numpy(inputs[t.name]).to(device) for t in model.inputs))
    return [t.float().cpu().numpy() for t in (out if isinstance(out, (tuple, list)) else (out,))]


def _seconds(
    function: Callable[..., Any], model: Model, inputs: Mapping[str, np.ndarray], device: str
) -> float:
    tensors = [torch.from_numpy(inputs[t.name]).to(device) for t in model.inputs]
    _synchronise(device)
    started = time.perf_counter()
    with torch.inference_mode():
        function(*tensors)
    _synchronise(device)
    return time.perf_counter() - started


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
