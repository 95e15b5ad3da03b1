"""A model repository small enough to start in a second, with every way for a request to go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper, save
from tritonclient.grpc import model_config_pb2 as pb

WIDTH, OUT = 8, 4
ROWS = 10  # of the table that `lookup` reads
WEIGHT = np.random.default_rng(7).normal(size=(WIDTH, OUT)).astype(np.float32)

SLOW_MODEL = """
import time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            seconds = pb_utils.get_input_tensor_by_name(request, "SECONDS").as_numpy()
            time.sleep(float(seconds[0]))
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("SLEPT", seconds)]))
        return answers
"""


def make_repository(root: Path) -> Path:
    """`encoder` (batched, variable length), `lookup` (refuses indices), `inverse` (infinity at -1),
    `whole` (no batch axis), `slow` (sleeps, in Python)."""
    _encoder(root)
    _lookup(root)
    _inverse(root)
    _whole(root)
    slow = _config("slow", 0, [("SECONDS", pb.TYPE_FP32, [1])], [("SLEPT", pb.TYPE_FP32, [1])])
    slow.backend = "python"
    write_config(root, slow)
    (root / "slow" / "1" / "model.py").write_text(SLOW_MODEL)
    return root


def write_config(root: Path, config: pb.ModelConfig) -> Path:
    """Both files as in the real repository: the GPU's, which must not be read, and the CPU's."""
    folder = root / config.name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "cpu.pbtxt").write_text(text_format.MessageToString(config))
    other = pb.ModelConfig()
    other.CopyFrom(config)
    if config.backend == "onnxruntime":
        other.backend = "tensorrt"
    (folder / "config.pbtxt").write_text(text_format.MessageToString(other))
    return folder


def _config(name: str, max_batch: int, inputs: list, outputs: list) -> pb.ModelConfig:
    config = pb.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=max_batch,
        input=[pb.ModelInput(name=n, data_type=t, dims=d) for n, t, d in inputs],
        output=[pb.ModelOutput(name=n, data_type=t, dims=d) for n, t, d in outputs],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
    )
    if max_batch:
        config.dynamic_batching.SetInParent()
    return config


def _save(
    root: Path, config: pb.ModelConfig, nodes: list, constants: dict[str, np.ndarray], io: tuple
) -> None:
    folder = write_config(root, config)
    inputs, outputs = ([helper.make_tensor_value_info(*t) for t in side] for side in io)
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, config.name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save(model, folder / "1" / "model.onnx")


def _encoder(root: Path) -> None:
    """Y = mean over time of X @ WEIGHT; X [B, T, WIDTH]."""
    config = _config("encoder", 64, [("X", pb.TYPE_FP32, [-1, WIDTH])], [("Y", pb.TYPE_FP32, [OUT])])
    nodes = [
        helper.make_node("MatMul", ["X", "weight"], ["products"]),
        helper.make_node("ReduceMean", ["products", "axis"], ["Y"], keepdims=0),
    ]
    constants = {"weight": WEIGHT, "axis": np.array([1], np.int64)}
    io = ([("X", TensorProto.FLOAT, ["b", "t", WIDTH])], [("Y", TensorProto.FLOAT, ["b", OUT])])
    _save(root, config, nodes, constants, io)


def _lookup(root: Path) -> None:
    """VALUES = table[INDEX]; an index outside [-ROWS, ROWS) fails when it runs."""
    config = _config("lookup", 64, [("INDEX", pb.TYPE_INT64, [3])], [("VALUES", pb.TYPE_FP32, [3])])
    nodes = [helper.make_node("Gather", ["table", "INDEX"], ["VALUES"])]
    constants = {"table": np.arange(ROWS, dtype=np.float32)}
    io = ([("INDEX", TensorProto.INT64, ["b", 3])], [("VALUES", TensorProto.FLOAT, ["b", 3])])
    _save(root, config, nodes, constants, io)


def _inverse(root: Path) -> None:
    config = _config("inverse", 64, [("X", pb.TYPE_FP32, [2])], [("Y", pb.TYPE_FP32, [2])])
    # a probe of zeros must pass: 1 / (X + 1)
    nodes = [
        helper.make_node("Add", ["X", "one"], ["sum"]),
        helper.make_node("Reciprocal", ["sum"], ["Y"]),
    ]
    io = ([("X", TensorProto.FLOAT, ["b", 2])], [("Y", TensorProto.FLOAT, ["b", 2])])
    _save(root, config, nodes, {"one": np.array(1, np.float32)}, io)


def _whole(root: Path) -> None:
    """Two outputs of different lengths for a title of N rows; no batch axis."""
    outputs = [("SUM", pb.TYPE_FP32, [2]), ("TWICE", pb.TYPE_FP32, [-1, 2])]
    config = _config("whole", 0, [("X", pb.TYPE_FP32, [-1, 2])], outputs)
    nodes = [
        helper.make_node("ReduceSum", ["X", "axis"], ["SUM"], keepdims=0),
        helper.make_node("Add", ["X", "X"], ["TWICE"]),
    ]
    io = (
        [("X", TensorProto.FLOAT, ["n", 2])],
        [("SUM", TensorProto.FLOAT, [2]), ("TWICE", TensorProto.FLOAT, ["n", 2])],
    )
    _save(root, config, nodes, {"axis": np.array([0], np.int64)}, io)
