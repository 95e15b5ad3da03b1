"""The part `tensorrt`: each tower as an engine, where TensorRT can be imported. Never run so far."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resonance.loadtest.gpu_bench.encoders import Encoder
from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import Bench

#: Left for building one engine before it is begun.
BUILD_S = 60.0


def measure_tensorrt(bench: Bench, encoders: Sequence[Encoder]) -> None:
    """fp16, for precision lives in the ONNX (TensorRT 11 networks are strongly typed)."""
    if bench.device != "cuda":
        bench.result.skip("everything: no NVIDIA GPU")
        return
    reasons = [reason for reason in map(missing, ("tensorrt", "onnx", "onnxscript")) if reason]
    if reasons:
        bench.result.skip(f"everything: {'; '.join(reasons)}")
        return
    for tower in encoders:
        if bench.deadline.passed(BUILD_S):
            bench.result.skip(f"{tower.name}: out of time")
            continue
        with bench.going_on(f"{tower.name}, TensorRT"):  # ONNX, parser, builder and runtime may fail
            reference = tower.build("cuda")
            # On the default stream TensorRT waits for the whole device in every call.
            with torch.cuda.stream(torch.cuda.Stream()):
                run = _engine(tower)
                for number, batch in enumerate(tower.batches):
                    with bench.going_on(f"{tower.name}, TensorRT, batch {batch}"):
                        run.profile(number)
                        bench.measure(tower, "TensorRT fp16", run, batch, reference)


def _engine(tower: Encoder) -> _Runner:
    """The tower through ONNX as an engine with a profile for each of its batches."""
    import tensorrt as trt

    module = tower.build("cuda").to(torch.float16)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    with tempfile.TemporaryDirectory() as folder:
        path = _onnx(tower, module, Path(folder, "tower.onnx"))
        if not parser.parse_from_file(str(path)):
            raise RuntimeError("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    shape = tuple(tower.inputs(1, 0).shape[1:])
    for batch in tower.batches:
        profile = builder.create_optimization_profile()
        profile.set_shape("x", *[(batch, *shape)] * 3)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("the engine could not be built")
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    return _Runner(engine)


def _onnx(tower: Encoder, module: nn.Module, path: Path) -> Path:
    x = tower.inputs(2, 0, "cuda")
    x = x.half() if x.is_floating_point() else x
    axes = ({0: torch.export.Dim.DYNAMIC},)
    torch.onnx.export(
        module, (x,), str(path), input_names=["x"], output_names=["y"], dynamic_shapes=axes, dynamo=True
    )
    return path


class _Runner:
    """An engine on the stream that is current; fp16 out. Holds the engine, which its context does not."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._context = engine, engine.create_execution_context()

    def profile(self, number: int) -> None:
        """Take the kernels that were chosen for the tower's batch `number`."""
        if not self._context.set_optimization_profile_async(number, torch.cuda.current_stream().cuda_stream):
            raise RuntimeError(f"profile {number} is refused")

    def __call__(self, x: Tensor) -> Tensor:
        x = (x.half() if x.is_floating_point() else x).contiguous()
        context = self._context
        context.set_input_shape("x", tuple(x.shape))
        out = torch.empty(tuple(context.get_tensor_shape("y")), device="cuda", dtype=torch.float16)
        context.set_tensor_address("x", x.data_ptr())
        context.set_tensor_address("y", out.data_ptr())
        if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("the engine did not run")
        return out
