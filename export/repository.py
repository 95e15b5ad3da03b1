"""Triton's configs from the contract, as protobuf messages, and the files that are code.

`config.pbtxt` is for the GPU (TensorRT plans), `configs/cpu.pbtxt` for the CPU (ONNX) and
`configs/aoti.pbtxt` for PyTorch alone (AOTInductor packages, on the GPU where there is one).

They are committed; `make configs` writes them again and a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from resonance.export.contract import ENSEMBLES, MODELS, Dtype, Ensemble, Model, Runs, Tensor

#: What DALI 2.4 decodes: on the GPU by NVDEC (of what films come in), and on the CPU.
DALI_CODECS = {False: ("h264", "hevc", "mpeg4", "vp9"), True: ("mjpeg", "vp8", "vp9")}

#: The one file of a model repository that is written by hand. A wheel has none, and needs none without DALI.
PIPELINE = Path("keyframe_decoder", "1", "dali.py")
_BY_HAND = Path(__file__).resolve().parents[1] / "model_repository" / PIPELINE
_MODEL = """\
\"\"\"Triton loads this file; the model stands in resonance.serving.models.{name}.\"\"\"

from resonance.serving.models.{name} import TritonPythonModel

__all__ = ["TritonPythonModel"]
"""

HEADER = "# Generated from export/contract.py by `make configs`; edit that, not this.\n"

_TRITON_TYPES = {
    Dtype.UINT8: pb.TYPE_UINT8,
    Dtype.BOOL: pb.TYPE_BOOL,
    Dtype.INT64: pb.TYPE_INT64,
    Dtype.FP32: pb.TYPE_FP32,
    Dtype.BYTES: pb.TYPE_STRING,
}


class Target(StrEnum):
    """What a config is for; the value is Triton's `--model-config-name`, but for the default."""

    TENSORRT = "tensorrt"
    CPU = "cpu"
    AOTI = "aoti"


def config_files() -> Iterator[tuple[Path, str]]:
    """Every config as (path relative to the model repository, text)."""
    for model in MODELS:
        yield Path(model.name, "config.pbtxt"), render(model_config(model, Target.TENSORRT))
        for target in (Target.CPU, Target.AOTI):
            yield Path(model.name, "configs", f"{target}.pbtxt"), render(model_config(model, target))
    for ensemble in ENSEMBLES:  # the same on every target
        yield Path(ensemble.name, "config.pbtxt"), render(ensemble_config(ensemble))


def code_files() -> Iterator[tuple[Path, str]]:
    """What Triton's Python backend loads, as (path relative to the model repository, text)."""
    for model in MODELS:
        if model.runs is Runs.PYTHON:
            yield Path(model.name, "1", "model.py"), _MODEL.format(name=model.name)
    if _BY_HAND.is_file():
        yield PIPELINE, _BY_HAND.read_text(encoding="utf-8")


def write_configs(repository: Path) -> None:
    """Write `config_files` and `code_files` into `repository`. An ensemble also gets the empty version folder
    that Triton wants.

    A file that is as it should be is left alone, and the others are whole at any time: they may be served.
    """
    empty = [(Path(ensemble.name, "1", ".gitkeep"), "") for ensemble in ENSEMBLES]
    for path, text in (*config_files(), *code_files(), *empty):
        target = repository / path
        if target.is_file() and target.read_bytes() == text.encode():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(target)


def render(config: pb.ModelConfig) -> str:
    """The file's text."""
    return HEADER + str(text_format.MessageToString(config))


def model_config(model: Model, target: Target) -> pb.ModelConfig:
    """Config of one model. Python models differ by target in what DALI decodes on its device alone."""
    config = pb.ModelConfig(
        name=model.name,
        max_batch_size=model.max_batch_size,
        input=[_input(t) for t in model.inputs],
        output=[_output(t) for t in model.outputs],
    )
    group = pb.ModelInstanceGroup(count=model.cpu_instances, kind=pb.ModelInstanceGroup.KIND_CPU)
    if model.runs is Runs.PYTHON:
        config.backend = "python"
        if target is not Target.CPU and model.gpu_server_instances is not None:
            group.count = model.gpu_server_instances
        if model.name == "video_decoder":
            config.parameters["dali_codecs"].string_value = ",".join(DALI_CODECS[target is Target.CPU])
    elif model.runs is Runs.DALI:
        # Not NVIDIA's `dali`: inside Triton's own process a decoder that hangs or dies takes Triton along.
        config.backend, config.default_model_filename = "resonance_dali", "dali.py"
        if target is not Target.CPU:
            group = pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_GPU)
    elif target is Target.TENSORRT:
        config.backend, config.default_model_filename = "tensorrt", "model.plan"
        group = pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_GPU)
    elif target is Target.AOTI:
        config.backend, config.default_model_filename = "aoti", "model.pt2"
        # The GPU where there is one, else the CPU: a package says itself what it was built for.
        group = pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_AUTO)
        # What an ensemble's earlier step left on the GPU stays there.
        config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"
    else:
        config.backend, config.default_model_filename = "onnxruntime", "model.onnx"
        # Threads inside a run wait for each other at every operator; whole runs beside each other do not.
        config.parameters["intra_op_thread_count"].string_value = "1"
        config.parameters["parallel_runs"].string_value = str(model.cpu_parallel_runs)
        config.parameters["max_requests_per_run"].string_value = str(model.cpu_requests_per_run)
        if model.cpu_numbers_per_run is not None:
            config.parameters["max_numbers_per_run"].string_value = str(model.cpu_numbers_per_run)
    if group.kind == pb.ModelInstanceGroup.KIND_GPU and model.gpu_profiles > 1:
        # Triton takes the nearest of the profiles that are named here; unnamed ones are never used.
        group.profile.extend(str(i) for i in range(model.gpu_profiles))
        # Each has a context, which by default takes the memory of the largest of them all.
        strategy = config.parameters["execution_context_allocation_strategy"]
        strategy.string_value = "ON_PROFILE_CHANGE"
    config.instance_group.append(group)
    if model.dynamic_batching:
        config.dynamic_batching.SetInParent()
        if model.runs is Runs.GRAPH and target is Target.CPU:
            # All that is answered together waits for the slowest: no more than keeps the threads busy.
            size = max(2 * model.cpu_parallel_runs, model.cpu_requests_per_run)
            config.dynamic_batching.preferred_batch_size.append(size)
    if model.runs is Runs.GRAPH:
        config.model_warmup.append(_warmup(model))
    return config


def ensemble_config(ensemble: Ensemble) -> pb.ModelConfig:
    """Config of one ensemble: every tensor keeps its name from step to step."""
    steps = [m for name in ensemble.steps for m in MODELS if m.name == name]
    config = pb.ModelConfig(
        name=ensemble.name,
        platform="ensemble",
        max_batch_size=min(m.max_batch_size for m in steps),
        input=[_input(t) for t in ensemble.inputs],
        output=[_output(t) for t in ensemble.outputs],
    )
    for model in steps:
        step = config.ensemble_scheduling.step.add(model_name=model.name, model_version=-1)
        step.input_map.update({t.name: t.name for t in model.inputs})
        step.output_map.update({t.name: t.name for t in model.outputs})
    return config


def _dims(tensor: Tensor) -> list[int]:
    return [-1 if isinstance(axis, str) else axis for axis in tensor.axes]


def _input(tensor: Tensor) -> pb.ModelInput:
    return pb.ModelInput(name=tensor.name, data_type=_TRITON_TYPES[tensor.dtype], dims=_dims(tensor))


def _output(tensor: Tensor) -> pb.ModelOutput:
    return pb.ModelOutput(name=tensor.name, data_type=_TRITON_TYPES[tensor.dtype], dims=_dims(tensor))


def _warmup(model: Model) -> pb.ModelWarmup:
    """One request at the example lengths, so that the first caller does not pay for allocation."""
    lengths = dict(model.example_axes)
    warmup = pb.ModelWarmup(name="example", batch_size=1 if model.max_batch_size else 0)
    for tensor in model.inputs:
        entry = warmup.inputs[tensor.name]
        entry.data_type = _TRITON_TYPES[tensor.dtype]
        entry.dims.extend(lengths[a] if isinstance(a, str) else a for a in tensor.axes)
        entry.zero_data = True
    return warmup
