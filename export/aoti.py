"""Graphs as AOTInductor packages (`model.pt2`): compiled once, served with nothing but PyTorch.

One package a graph with a dynamic batch, not one a batch size: a package holds its own copy of the
weights and takes half a minute to several minutes to compile, and what a fixed batch could gain, the
launches of small batches, CUDA graphs give at run time (`serving/backends/aoti`). `make gpu-bench` times
both.

On the GPU the encoder's tower runs in bf16 or fp16; what stands around it (pixel scaling, log-mel,
pooling, projection, unit norm, signals) and the fusion head stay fp32, for they are small and their
errors are not. Precisions are tried in order, and the first that holds is taken, as with 8 bits
(`resonance.export.quantise`). On the CPU there is fp32 alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export import contract
from resonance.export.artifact import (
    AOTI_NOTE,
    AOTI_PACKAGE,
    ArtifactReport,
    Row,
    Trial,
    compare_values,
    cosine,
)
from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.contract import Model
from resonance.export.graphs.lowered import lowered
from resonance.export.onnx_export import make_inputs
from resonance.export.weights import weights_sha256

if TYPE_CHECKING:
    from resonance.export.reference import Reference

#: Precisions of the tower by device, the one to try first first.
PRECISIONS: Mapping[str, Mapping[str, torch.dtype]] = {
    "cuda": {"aoti-bf16": torch.bfloat16, "aoti-fp16": torch.float16, "aoti-fp32": torch.float32},
    "cpu": {"aoti-fp32": torch.float32},
}
#: The batch a graph is traced at: the tuner's timings on the GPU are for it, on the CPU nothing is timed.
EXAMPLE_BATCH = {"cuda": 32, "cpu": 2}
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

Arrays = dict[str, np.ndarray]


class AotiError(RuntimeError):
    """A package cannot be made here, or no precision held; the message says what to do."""


def check_compiler() -> None:
    """Packages hold C++ that is compiled here, on the GPU too.

    Raises:
        AotiError: no compiler is on PATH.
    """
    wanted = os.environ.get("CXX", "g++")
    if shutil.which(wanted) is None:
        raise AotiError(
            f"AOTInductor compiles C++ and '{wanted}' is not on PATH; install a compiler "
            "(`apt-get install g++`), or name one with CXX"
        )


def choose_device(wanted: str = "auto") -> str:
    """``cuda`` or ``cpu``; ``auto`` takes the GPU where there is one.

    Raises:
        AotiError: ``cuda`` was asked for and this PyTorch sees no GPU.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise AotiError(f"torch {torch.__version__} sees no NVIDIA GPU here; use --device cpu")
    return wanted


def package_family(
    card: FamilyCard,
    repository: Path,
    reference: Reference,
    *,
    device: str,
    autotune: bool = True,
    on_graph: Callable[[ArtifactReport], None] = lambda report: None,
) -> list[ArtifactReport]:
    """Compile every graph of `card` to 1/model.pt2 in `repository`, each with its note beside it.

    Raises:
        AotiError: no compiler, or no precision of a graph held; its package is not there then.
    """
    check_compiler()
    reports = []
    for graph in card.graphs:
        path = repository / graph.model / "1" / AOTI_PACKAGE
        report = package_graph(
            graph, path, reference.rows.get(graph.model, []), device=device, autotune=autotune
        )
        write_note(path, report, graph, device=device, source=reference.source)
        reports.append(report)
        on_graph(report)
    return reports


def package_graph(
    card: GraphCard, path: Path, rows: Sequence[Row], *, device: str, autotune: bool = True
) -> ArtifactReport:
    """Compile `card` into `path`: the first precision that agrees with fp32 torch on the CPU.

    Raises:
        AotiError: none does; the message has each one's figures, and `path` is not there.
    """
    model = contract.model(card.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in (path, path.with_name(AOTI_NOTE)):
        stale.unlink(missing_ok=True)
    rows = [*rows, *_made_up_rows(model)]
    fp32 = card.build().eval()
    expected = [_run(fp32, model, row.inputs, "cpu") for row in rows]
    report = ArtifactReport(card.model, "none", card.artifact_floor, len(rows), _size(fp32))
    precisions = PRECISIONS[device]
    if not hasattr(fp32, "encoder"):
        precisions = {"aoti-fp32": torch.float32}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for artifact, dtype in precisions.items():
            trial = Trial(artifact)
            report.trials.append(trial)
            file = Path(folder, AOTI_PACKAGE)
            try:
                module = lowered(card.build().eval(), dtype).to(device)
                compile_package(module, model, card.arguments, file, device=device, autotune=autotune)
                run = load(file, device)
                _judge(trial, card, model, rows, expected, run, fp32, device, dtype)
            except Exception as error:  # of many kinds: tracing, tuning, the C++ compiler, the loader
                trial.refused.append(f"cannot be made: {_first_line(error)}")
            if not trial.refused:
                trial.size_bytes = file.stat().st_size
                os.replace(file, path)
                report.chosen = artifact
                return report
    reasons = "; ".join(f"{t.artifact}: {', '.join(t.refused)}" for t in report.trials)
    raise AotiError(f"{card.model}: no precision holds on {device}: {reasons}")


def compile_package(
    module: nn.Module,
    model: Model,
    arguments: Sequence[str],
    path: Path,
    *,
    device: str,
    autotune: bool = True,
) -> None:
    """Trace `module` with the model's variable axes and compile it to `path`."""
    example = make_inputs(model, batch=EXAMPLE_BATCH[device], seed=0)
    inputs = tuple(torch.from_numpy(example[t.name]).to(device) for t in model.inputs)
    axes = {
        argument: _dynamic_axes(model, tensor)
        for argument, tensor in zip(arguments, model.inputs, strict=True)
    }
    options = {"max_autotune": True} if device == "cuda" and autotune else {}
    with torch.no_grad(), _fp32_means_fp32(), _quiet():
        program = torch.export.export(module, inputs, dynamic_shapes=axes)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def load(path: Path, device: str) -> Callable[..., Sequence[Tensor]]:
    """The package as a function of tensors on `device`, always giving a sequence.

    Single-threaded: the model's own events would otherwise clash with the capture of CUDA graphs.
    """
    index = torch.cuda.current_device() if device == "cuda" else -1
    with _quiet():
        package = torch._inductor.aoti_load_package(str(path), run_single_threaded=True, device_index=index)

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        with torch.inference_mode(), _fp32_means_fp32():
            out = package(*inputs)
        return (out,) if isinstance(out, Tensor) else tuple(out)

    return run


def write_note(path: Path, report: ArtifactReport, card: GraphCard, *, device: str, source: str) -> None:
    """The record beside the package; the backend refuses one that was made for another place."""
    note = {
        "artifact": report.chosen,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "weights_sha256": weights_sha256(card.build().eval()),
        "reference": f"{source}, and random inputs",
        "built_for": built_for(device),
        **asdict(report),
    }
    path.with_name(AOTI_NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def built_for(device: str) -> dict[str, str]:
    """Where a package made here runs: it is machine code for one PyTorch and one kind of processor."""
    place = {"device": device, "torch": torch.__version__, "machine": platform.machine()}
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        return {**place, "gpu": torch.cuda.get_device_name(), "capability": f"{major}.{minor}"}
    return {**place, "cpu": torch.backends.cpu.get_cpu_capability()}


def _judge(
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
    alone = [_run(run, model, row.inputs, device) for row in rows]
    compare_values(trial, card, rows, expected, alone)
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
            together = _run(run, model, inputs, device)
            for row in range(batch):
                one = _run(run, model, {k: v[row : row + 1] for k, v in inputs.items()}, device)
                least = min(least, cosine(one[0][0], together[0][row]))
                for a, b in zip(one, together, strict=True):
                    apart = np.abs(a[0] - b[row]) / np.maximum(1.0, np.abs(a[0]))
                    worst = max(worst, float(apart.max()))
    trial.batch_max_abs = worst
    if dtype is torch.float32 and not worst <= INDEPENDENCE:
        trial.refused.append(f"a row alone and in a batch differ by {worst:.1e} (at most {INDEPENDENCE:.0e})")
    if not least >= HALF_INDEPENDENCE:
        trial.refused.append(f"a row alone and in a batch: cosine {least:.6f} (at least {HALF_INDEPENDENCE})")


def _made_up_rows(model: Model) -> list[Row]:
    """Fresh random inputs, each alone; for a model without a batch axis, of several lengths."""
    if model.max_batch_size == 0:
        cases = [({}, n) for n in CHECKED_SEGMENTS]
    else:
        cases = [(axes, 1) for axes in CHECKED_AXES.get(model.name, ({}, {}))]
    return [
        Row(f"random {i}", make_inputs(model, batch=n, seed=int(time.time()) + i, axes=axes))
        for i, (axes, n) in enumerate(cases)
    ]


def _run(
    function: Callable[..., Any], model: Model, inputs: Mapping[str, np.ndarray], device: str
) -> list[np.ndarray]:
    """Outputs as arrays, whatever runs: a torch module or a package."""
    with torch.inference_mode(), _fp32_means_fp32():
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


def _dynamic_axes(model: Model, tensor: contract.Tensor) -> dict[int, object]:
    """The batch up to the model's largest; named axes as far as the graph allows."""
    dynamic = torch.export.Dim.DYNAMIC
    if model.max_batch_size == 0:
        return {i: dynamic for i, axis in enumerate(tensor.axes) if isinstance(axis, str)}
    named = {i: dynamic for i, axis in enumerate(tensor.axes, start=1) if isinstance(axis, str)}
    return {0: dynamic(min=1, max=model.max_batch_size), **named}


@contextlib.contextmanager
def _fp32_means_fp32() -> Iterator[None]:
    """cuDNN takes convolutions in TF32 by default, three digits: too coarse for a log-mel spectrum."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The compiler warns of its own deprecations, which concern no caller."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _size(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
