"""A torch graph to an AOTInductor package and back: tracing, compiling, loading."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from resonance.export import contract
from resonance.export.contract import Model
from resonance.export.cuda_toolkit import ToolkitError, use_toolkit
from resonance.export.onnx_export import make_inputs

#: The batch a graph is traced at: the tuner's timings on the GPU are for it, on the CPU nothing is timed.
EXAMPLE_BATCH = {"cuda": 32, "cpu": 2}


class AotiError(RuntimeError):
    """A package cannot be made here, or no precision held; the message says what to do."""


def check_compiler(device: str) -> None:
    """Packages hold C++ that is compiled here, on the GPU against CUDA's headers and the driver.

    Raises:
        AotiError: no compiler is on PATH, or no toolkit is here.
    """
    wanted = os.environ.get("CXX", "g++")
    if shutil.which(wanted) is None:
        raise AotiError(
            f"AOTInductor compiles C++ and '{wanted}' is not on PATH; install a compiler "
            "(`apt-get install g++`), or name one with CXX"
        )
    if device == "cuda":
        try:
            use_toolkit()
        except ToolkitError as error:
            raise AotiError(str(error)) from error


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
    with torch.no_grad(), fp32_means_fp32(), _quiet():
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
        with torch.inference_mode(), fp32_means_fp32():
            out = package(*inputs)
        return (out,) if isinstance(out, Tensor) else tuple(out)

    return run


def built_for(device: str) -> dict[str, str]:
    """Where a package made here runs: it is machine code for one PyTorch and one kind of processor."""
    place = {"device": device, "torch": torch.__version__, "machine": platform.machine()}
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        return {**place, "gpu": torch.cuda.get_device_name(), "capability": f"{major}.{minor}"}
    return {**place, "cpu": torch.backends.cpu.get_cpu_capability()}


def _dynamic_axes(model: Model, tensor: contract.Tensor) -> dict[int, object]:
    """The batch up to the model's largest; named axes as far as the graph allows."""
    dynamic = torch.export.Dim.DYNAMIC
    if model.max_batch_size == 0:
        return {i: dynamic for i, axis in enumerate(tensor.axes) if isinstance(axis, str)}
    named = {i: dynamic for i, axis in enumerate(tensor.axes, start=1) if isinstance(axis, str)}
    return {0: dynamic(min=1, max=model.max_batch_size), **named}


@contextlib.contextmanager
def fp32_means_fp32() -> Iterator[None]:
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
