"""Every call into TensorRT: parse, build, and run an engine. Importing this module imports tensorrt.

Written for TensorRT 11: networks are strongly typed, so precision is in the ONNX file and nowhere here.
A test type-checks this module against the bindings of the version in `pyproject.toml`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorrt as trt
import torch

from resonance.clients.new_files import whole_file
from resonance.export.contract import Dtype, Model
from resonance.export.onnx_export import Arrays
from resonance.export.trt.errors import TensorRTError, TensorRTMissingError, parse_failure
from resonance.export.trt.options import BuildOptions
from resonance.export.trt.profiles import Profile, first_admitting

VERSION: str = trt.__version__

_log = logging.getLogger(__name__)

_LEVELS = {
    "none": trt.HardwareCompatibilityLevel.NONE,
    "same-compute-capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
    "ampere-plus": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
}
_TYPES = {Dtype.UINT8: trt.uint8, Dtype.BOOL: trt.bool, Dtype.INT64: trt.int64, Dtype.FP32: trt.float32}
_TORCH_TYPES = {Dtype.FP32: torch.float32}  # of outputs; nothing else leaves a graph


class Log(trt.ILogger):
    """Keeps TensorRT's errors, which say why a call returned nothing. Warnings are dropped."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.errors.append(" ".join(msg.split()))

    def reason(self, raised: Exception | None = None) -> str:
        """The errors so far, in one line; where there are none, what the bindings `raised`."""
        told = " ".join(str(raised or "").split())
        return "; ".join(self.errors) or told or "TensorRT gave no reason"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that engines are built on and for; `compute_capability` as in "9.0"."""

    name: str
    compute_capability: str


def current_gpu() -> Gpu:
    """The first GPU that torch sees.

    Raises:
        TensorRTMissingError: it sees none.
    """
    if not torch.cuda.is_available():
        raise TensorRTMissingError(
            f"torch {torch.__version__} sees no GPU; engines are built on the kind of GPU that serves them: "
            "run there, with a CUDA build of torch"
        )
    properties = torch.cuda.get_device_properties(0)
    return Gpu(properties.name, f"{properties.major}.{properties.minor}")


def make_builder(log: Log) -> trt.Builder:
    """What makes networks and engines.

    Raises:
        TensorRTMissingError: TensorRT cannot start CUDA here. Torch may all the same, with a CUDA of its own.
    """
    try:
        return trt.Builder(log)
    except TypeError as error:  # of the bindings, where TensorRT returns nothing
        raise _not_started("builder", log, error) from error


def _make_runtime(log: Log) -> trt.Runtime:
    try:
        return trt.Runtime(log)
    except TypeError as error:
        raise _not_started("runtime", log, error) from error


def _not_started(what: str, log: Log, error: TypeError) -> TensorRTMissingError:
    return TensorRTMissingError(
        f"TensorRT {VERSION} makes no {what} here: {log.reason(error)}; look whether the GPU's driver is new "
        "enough for the CUDA of TensorRT (nvidia-smi says the latest that it takes)"
    )


def build_plan(
    network_path: Path, profiles: Sequence[Profile], options: BuildOptions, timing_cache: Path
) -> bytes:
    """The serialized engine of the ONNX graph at `network_path`.

    `timing_cache` is read if it is there and fits this GPU and TensorRT, and written afterwards.

    Raises:
        TensorRTMissingError: see `make_builder`.
        TensorRTError: the parser refuses nodes (all are named), a profile does not fit, or no engine
            could be built.
    """
    log = Log()
    builder = make_builder(log)
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(network_path)):
        raise parse_failure(network_path, parser)
    config = builder.create_builder_config()
    # TF32 is on by default and has fp16's 10 bits: what is fp32 in the file would not be fp32 on the GPU.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.hardware_compatibility_level = _LEVELS[options.hardware_compatibility]
    for number, ranges in enumerate(profiles):
        profile = builder.create_optimization_profile()
        refused = f"{network_path}: profile {number} is refused ({ranges})"
        try:
            for name, shapes in ranges.items():
                profile.set_shape(
                    name, trt.Dims(shapes.minimum), trt.Dims(shapes.preferred), trt.Dims(shapes.maximum)
                )
        except RuntimeError as error:  # the bindings raise it where shapes do not fit each other
            raise TensorRTError(f"{refused}: {log.reason(error)}") from error
        if config.add_optimization_profile(profile) != number:
            raise TensorRTError(f"{refused}: {log.reason()}")
    _attach_timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        hint = "; version-compatible plans need libnvinfer_lean here" if options.version_compatible else ""
        raise TensorRTError(f"{network_path}: no engine could be built: {log.reason()}{hint}")
    _keep_timing_cache(config, timing_cache)
    return bytes(memoryview(plan))


def _attach_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Tactic timings of earlier builds; a cache of another GPU or version is refused and begun anew."""
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """For the next build; that it cannot be kept is no reason to lose an engine. Several build at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as half:
            half.write_bytes(memoryview(config.get_timing_cache().serialize()))
    except OSError as error:
        _log.warning("timing cache %s: cannot be written (%s)", path, error.strerror)


class Engine:
    """A plan on the current GPU. A `Runner`: numpy arrays in, numpy arrays out.

    Raises:
        TensorRTMissingError: TensorRT cannot start CUDA here.
        TensorRTError: the plan cannot be loaded, or its tensors are not those of the contract.
    """

    def __init__(self, plan: bytes, model: Model, profiles: Sequence[Profile]) -> None:
        self._log, self._model, self._profiles = Log(), model, profiles
        runtime = _make_runtime(self._log)
        runtime.engine_host_code_allowed = True  # the lean runtime inside a version-compatible plan: our own
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise TensorRTError(f"{model.name}: the plan just built cannot be loaded: {self._log.reason()}")
        self._runtime, self._engine = runtime, engine
        self._check_tensors()
        self._context = engine.create_execution_context()
        if self._context is None:
            raise TensorRTError(f"{model.name}: no execution context: {self._log.reason()}")
        self._stream = torch.cuda.Stream()

    def __call__(self, inputs: Arrays) -> list[np.ndarray]:
        """Outputs of the first profile that admits `inputs`.

        Raises:
            TensorRTError: no profile does, or TensorRT refused the run.
        """
        shapes = {name: value.shape for name, value in inputs.items()}
        index = first_admitting(self._profiles, shapes)
        if index is None:
            raise TensorRTError(f"{self._model.name}: no profile takes inputs of shape {shapes}")
        try:
            with torch.cuda.stream(self._stream):
                return self._run(inputs, index)
        except RuntimeError as error:  # of the bindings, or torch's where the GPU's memory is short
            reason = self._log.reason(error)
            raise TensorRTError(f"{self._model.name}: the engine refused {shapes}: {reason}") from error

    def _run(self, inputs: Arrays, index: int) -> list[np.ndarray]:
        """Outputs by profile `index`, on the stream that is current.

        Raises:
            RuntimeError: a call was refused, without a text where TensorRT has told its log.
        """
        context, stream = self._context, self._stream.cuda_stream
        done = [context.set_optimization_profile_async(index, stream)]
        held = {n: torch.from_numpy(np.ascontiguousarray(v)).to("cuda") for n, v in inputs.items()}
        for name, tensor in held.items():
            done.append(context.set_input_shape(name, tuple(tensor.shape)))
            done.append(context.set_tensor_address(name, tensor.data_ptr()))
        if not all(done):  # outputs would have no shape yet
            raise RuntimeError
        outputs = []
        for output in self._model.outputs:
            dims = context.get_tensor_shape(output.name)
            shape = [dims[axis] for axis in range(len(dims))]
            outputs.append(torch.empty(shape, dtype=_TORCH_TYPES[output.dtype], device="cuda"))
            done.append(context.set_tensor_address(output.name, outputs[-1].data_ptr()))
        if not (all(done) and context.execute_async_v3(stream)):
            raise RuntimeError
        return [tensor.cpu().numpy() for tensor in outputs]  # each copy waits for the stream

    def _check_tensors(self) -> None:
        """Names, directions and types against the contract, which Triton's config repeats."""
        engine = self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        found = {n: (engine.get_tensor_mode(n), engine.get_tensor_dtype(n)) for n in names}
        expected = {
            **{t.name: (trt.TensorIOMode.INPUT, _TYPES[t.dtype]) for t in self._model.inputs},
            **{t.name: (trt.TensorIOMode.OUTPUT, _TYPES[t.dtype]) for t in self._model.outputs},
        }
        if found != expected:
            raise TensorRTError(
                f"{self._model.name}: the plan's tensors are {found}, expected {expected}; "
                "an input that no output depends on is dropped by TensorRT"
            )
