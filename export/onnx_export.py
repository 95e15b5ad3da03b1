"""One graph to ONNX, and the checks it must pass before it counts as exported."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from resonance.export import contract
from resonance.export.cards import GraphCard, GraphReport, TensorReport, Tolerance
from resonance.export.contract import Dtype, Model, Tensor
from resonance.export.onnx_files import MOST_INLINE_BYTES, data_of, files_of, size_of
from resonance.export.weights import count_parameters, weights_sha256

#: Batch sizes an export is checked at; for a model without a batch axis, lengths of its variable axis.
CHECKED_BATCHES = (1, 3, 5)
OPSET = 20
#: The entry in a model file's metadata with `GraphCard.trimmed_by`, for the server's backend.
TRIMMED_BY_KEY = "resonance.trimmed_by"

Arrays = dict[str, np.ndarray]


class ExportError(RuntimeError):
    """An exported graph failed a check; the message lists every failure with its figures."""


def export_graph(card: GraphCard, path: Path) -> GraphReport:
    """Export `card` to `path` and validate it against torch.

    Raises:
        ExportError: names, axes, finiteness or values are off; `path` is then removed.
    """
    started = time.monotonic()
    model = contract.model(card.model)
    module = card.build().eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    data_of(path).unlink(missing_ok=True)
    example = make_inputs(model, batch=2, seed=0)
    torch.onnx.export(
        module,
        tuple(torch.from_numpy(example[t.name]) for t in model.inputs),
        str(path),
        input_names=[t.name for t in model.inputs],
        output_names=[t.name for t in model.outputs],
        dynamic_shapes={
            argument: _dynamic_axes(model, tensor)
            for argument, tensor in zip(card.arguments, model.inputs, strict=True)
        },
        dynamo=True,
        external_data=4 * count_parameters(module) > MOST_INLINE_BYTES,
        opset_version=OPSET,
        verbose=False,
    )
    if card.trimmed_by is not None:
        exported = onnx.load(path, load_external_data=False)
        onnx.helper.set_model_props(exported, {TRIMMED_BY_KEY: card.trimmed_by})
        onnx.save(exported, path)
    report = GraphReport(
        model=model.name,
        parameters=count_parameters(module),
        size_bytes=size_of(path),
        seconds=0.0,
        weights_sha256=weights_sha256(module),
    )
    try:
        report.tensors = validate(module, model, path, card.tolerance)
    except ExportError:
        for part in list(files_of(path)):
            part.unlink()
        raise
    report.seconds = time.monotonic() - started
    return report


def validate(
    module: nn.Module, model: Model, path: Path, tolerance: Mapping[str, Tolerance]
) -> list[TensorReport]:
    """Compare the file with torch at every checked batch; collect all failures, then raise once.

    Raises:
        ExportError: see `export_graph`.
    """
    session = cpu_session(path)
    failures = [*_check_names(session, model), *_check_axes(session, model)]
    reports = {t.name: TensorReport(t.name) for t in model.outputs}
    if not failures:
        for seed, batch in enumerate(CHECKED_BATCHES, start=1):
            inputs = make_inputs(model, batch=batch, seed=seed)
            with torch.inference_mode():
                expected = module(*(torch.from_numpy(inputs[t.name]) for t in model.inputs))
            expected = expected if isinstance(expected, tuple) else (expected,)
            found = session.run([t.name for t in model.outputs], inputs)
            for tensor, want, got in zip(model.outputs, expected, found, strict=True):
                failures += _compare(
                    reports[tensor.name], want.numpy(), got, tolerance[tensor.name], f"batch {batch}"
                )
    if failures:
        raise ExportError(f"{model.name}: " + "; ".join(failures))
    return list(reports.values())


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """The session every comparison uses: one thread, the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def make_inputs(model: Model, *, batch: int, seed: int, axes: Mapping[str, int] | None = None) -> Arrays:
    """Random inputs of `model` with sensible values: unit blocks, ascending times, partial masks.

    `axes` overrides the lengths of named axes. Where the model has no batch axis, `batch` is the length
    of its variable axis.
    """
    rng = np.random.default_rng(seed)
    lengths = {**dict(model.example_axes), **(axes or {})}
    if model.max_batch_size == 0:
        lengths = dict.fromkeys(lengths, batch)
    lead = () if model.max_batch_size == 0 else (batch,)
    return {
        t.name: _make_tensor(t, (*lead, *(lengths[a] if isinstance(a, str) else a for a in t.axes)), rng)
        for t in model.inputs
    }


def _make_tensor(tensor: Tensor, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if tensor.name == "FRAMES":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if tensor.name == "FRAME_MASK":  # the first frame is always there, later ones perhaps
        return (np.cumsum(rng.random(shape) < 0.3, axis=-1) == 0) | (np.arange(shape[-1]) == 0)
    if tensor.name in ("FRAME_TIMES", "TIMES"):
        return np.sort(rng.uniform(0, 8 * shape[-1], shape), axis=-1).astype(np.float32)
    if tensor.name == "PCM":
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)
    if tensor.name == "PCM_LENGTH":
        return rng.integers(1, contract.WINDOW_SAMPLES + 1, shape, dtype=np.int64)
    if tensor.name == "IDS":
        return rng.integers(3, 259, shape, dtype=np.int64)
    if tensor.name == "MASK":
        used = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
        return (np.arange(shape[-1]) < used).astype(np.int64)
    if tensor.name == "BLOCKS":
        blocks = rng.standard_normal(shape)
        return (blocks / np.linalg.norm(blocks, axis=-1, keepdims=True)).astype(np.float32)
    if tensor.name == "PRESENT":
        present = rng.random(shape) < 0.6
        present[..., 0] |= ~present.any(-1)
        return present
    raise ExportError(f"no example is known for input {tensor.name}")


def _dynamic_axes(model: Model, tensor: Tensor) -> dict[int, object]:
    dynamic = torch.export.Dim.DYNAMIC
    axes: tuple[int | str, ...] = tensor.axes if model.max_batch_size == 0 else ("batch", *tensor.axes)
    return {i: dynamic for i, axis in enumerate(axes) if isinstance(axis, str)}


def _check_names(session: onnxruntime.InferenceSession, model: Model) -> Iterable[str]:
    for kind, nodes, tensors in (
        ("inputs", session.get_inputs(), model.inputs),
        ("outputs", session.get_outputs(), model.outputs),
    ):
        found, expected = [n.name for n in nodes], [t.name for t in tensors]
        if found != expected:
            yield f"{kind} are {found}, expected {expected}"


_ORT_TYPES = {
    Dtype.UINT8: "tensor(uint8)",
    Dtype.BOOL: "tensor(bool)",
    Dtype.INT64: "tensor(int64)",
    Dtype.FP32: "tensor(float)",
}


def _check_axes(session: onnxruntime.InferenceSession, model: Model) -> Iterable[str]:
    nodes = {n.name: n for n in (*session.get_inputs(), *session.get_outputs())}
    for tensor in (*model.inputs, *model.outputs):
        node = nodes.get(tensor.name)
        if node is None:
            continue  # reported by _check_names
        axes: tuple[int | str, ...] = tensor.axes if model.max_batch_size == 0 else ("batch", *tensor.axes)
        if node.type != _ORT_TYPES[tensor.dtype]:
            yield f"{tensor.name} is {node.type}, expected {_ORT_TYPES[tensor.dtype]}"
        same = len(node.shape) == len(axes) and all(
            isinstance(have, str) if isinstance(want, str) else have == want
            for have, want in zip(node.shape, axes, strict=True)
        )
        if not same:
            yield f"{tensor.name} has axes {node.shape}, expected {list(axes)}"


def _compare(
    report: TensorReport, want: np.ndarray, got: np.ndarray, tolerance: Tolerance, where: str
) -> Iterable[str]:
    if want.shape != got.shape:
        yield f"{report.name} at {where} has shape {got.shape}, expected {want.shape}"
        return
    if not np.isfinite(got).all():
        yield f"{report.name} at {where} is not finite"
        return
    report.max_abs = max(report.max_abs, float(np.abs(want - got).max()))
    report.min_cosine = min(report.min_cosine, _worst_cosine(want, got))
    if report.max_abs > tolerance.max_abs or report.min_cosine < tolerance.min_cosine:
        yield (
            f"{report.name} at {where} differs by {report.max_abs:.2e} (allowed {tolerance.max_abs:.0e}), "
            f"cosine {report.min_cosine:.7f} (at least {tolerance.min_cosine})"
        )


def _worst_cosine(want: np.ndarray, got: np.ndarray) -> float:
    """Smallest cosine between corresponding rows; 1-d outputs are one row."""
    a = np.atleast_2d(want).astype(np.float64)
    b = np.atleast_2d(got).astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(np.min((a * b).sum(-1) / np.maximum(norms, 1e-30)))
