"""Exported graphs with their linear layers in 8 bits: the constructions that `quantise` tries.

Only matrices of linear layers are touched. The reduction of pictures, the mel filters and the matrices
of the signals are constants that something is multiplied with, too; they carry units and stay fp32.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resonance.export.onnx_files import save_graph

#: onnxruntime's own operators: fused integer matrix products and block-wise weights.
CONTRIB = "com.microsoft"
#: The entry in a model file's metadata that says which artifact it is; a file without it is fp32.
ARTIFACT_KEY = "resonance.artifact"
#: Weights that share one scale in `blocks_graph`; 128 is 1.4 times as fast, but a vision tower's rows
#: were then seen to differ by 3e-5 between batch sizes.
BLOCK_SIZE = 32

_CLASSES = "pkg.torch.onnx.class_hierarchy"
_LEVELS = 127  # of a signed byte, the same on both sides of zero
_OFFSET = 128  # of an unsigned byte that stands for a signed one


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of a graph: x [..., K] @ weight [K, N] (+ bias [N]).

    `node` is the node's name, `x` and `output` name tensors, `weight` and `bias` initialisers.
    `transposed`: the initialiser is [N, K].
    """

    node: str
    x: str
    weight: str
    bias: str | None
    output: str
    transposed: bool


def linears(model: onnx.ModelProto) -> list[Linear]:
    """The linear layers of an exported graph in its order, those that signals depend on left out.

    The exporter notes for each node which torch operator it came from; a product with a constant that
    did not come from `linear` is no layer.
    """
    constants = {i.name for i in model.graph.initializer}
    for_signals = ancestors(model, [o.name for o in model.graph.output][1:])
    found = []
    for node in model.graph.node:
        classes = {p.key: p.value for p in node.metadata_props}.get(_CLASSES, "")
        if node.op_type not in ("MatMul", "Gemm") or "aten.linear.default" not in classes:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = all(attributes.get(k, 1) == 1 for k in ("alpha", "beta")) and not attributes.get("transA")
        if node.input[1] in constants and plain and node.name not in for_signals:
            bias = node.input[2] if len(node.input) > 2 else None
            transposed = bool(attributes.get("transB"))
            found.append(Linear(node.name, node.input[0], node.input[1], bias, node.output[0], transposed))
    return found


def rows_graph(source: Path, *, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The graph at `source` with linear layers as int8 products, but those whose node is in `keep`.

    Weights: int8, a scale an output channel. Activations: each row x [K] is divided by its own largest
    magnitude a and rounded to 255 levels, so that no row's numbers depend on another's. The row's scale
    is applied to the product: y = a * ((x / a) @ w) + bias. `onnxruntime.quantization.quantize_dynamic`
    takes one scale from the whole batch instead.

    Raises:
        ValueError: no linear layer is left to quantise.
    """
    model = onnx.load(source)
    layers = {layer.node: layer for layer in linears(model) if layer.node not in keep}
    if not layers:
        raise ValueError(f"{source} has no linear layer to quantise")
    rewriter = _Rewriter({i.name: i for i in model.graph.initializer})
    for node in model.graph.node:
        if node.name in layers:
            rewriter.quantise(layers[node.name])
        else:
            rewriter.nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(rewriter.nodes)
    _keep_used(model, rewriter.constants)
    model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return model


def blocks_graph(source: Path) -> onnx.ModelProto:
    """The graph at `source` with linear layers' weights in blocks of `BLOCK_SIZE` 8-bit values.

    onnxruntime quantises activations a row and a block at a time (`accuracy_level` 4).

    Raises:
        ValueError: there is no linear layer.
    """
    model = onnx.load(source)
    layers = {layer.node for layer in linears(model)}
    if not layers:
        raise ValueError(f"{source} has no linear layer to quantise")
    quantizer = _blocks_quantizer()(
        model,
        bits=8,
        block_size=BLOCK_SIZE,
        is_symmetric=False,
        accuracy_level=4,
        nodes_to_exclude=[n.name for n in model.graph.node if n.name not in layers],
    )
    quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _blocks_quantizer() -> Any:
    """onnxruntime's class. Its module sets up the whole process's logging and tells every node of a graph."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)
    return MatMulNBitsQuantizer


def save(model: onnx.ModelProto, path: Path, artifact: str) -> None:
    """Write `model` to `path`, marked as `artifact`. See `save_graph`."""
    others = {p.key: p.value for p in model.metadata_props}
    helper.set_model_props(model, {**others, ARTIFACT_KEY: artifact})
    save_graph(model, path)


def artifact_of(path: Path) -> str:
    """Which artifact the file says it is; `fp32` where it says nothing."""
    model = onnx.load(path, load_external_data=False)
    return str({p.key: p.value for p in model.metadata_props}.get(ARTIFACT_KEY, "fp32"))


class _Rewriter:
    """Collects the nodes and constants of the graph that is being made."""

    def __init__(self, weights: dict[str, onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights
        self._rows: dict[str, tuple[str, str]] = {}
        self._step = self._constant("int8_step", np.float32(1 / _LEVELS))
        self._zero = self._constant("int8_zero", np.uint8(_OFFSET))
        self._floor = self._constant("int8_floor", np.float32(1e-12))  # a row of zeros has no scale
        self._last = self._constant("int8_last_axis", np.array([-1], np.int64))

    def quantise(self, layer: Linear) -> None:
        """Append what replaces `layer`; it gives the same output tensor."""
        weight = numpy_helper.to_array(self._weights[layer.weight])
        weight = weight.T if layer.transposed else weight  # (K, N)
        scale = np.maximum(np.abs(weight).max(axis=0), 1e-12) / _LEVELS  # (N,)
        whole = np.clip(np.rint(weight / scale), -_LEVELS, _LEVELS).astype(np.int8)
        name = layer.output
        # Query, key and value see one x: its rows are quantised once.
        if layer.x not in self._rows:
            self._rows[layer.x] = self._quantise_rows(layer.x, name)
        bytes_, magnitude = self._rows[layer.x]
        product = self._node(
            "MatMulIntegerToFloat",
            [
                bytes_,
                self._constant(f"{name}_int8", np.ascontiguousarray(whole)),
                self._step,
                self._constant(f"{name}_scale", scale.astype(np.float32)),
                self._zero,
            ],
            f"{name}_product",
            domain=CONTRIB,
        )
        if layer.bias is None:
            self._node("Mul", [product, magnitude], name)
        else:
            scaled = self._node("Mul", [product, magnitude], f"{name}_scaled")
            self._node("Add", [scaled, layer.bias], name)

    def _quantise_rows(self, x: str, name: str) -> tuple[str, str]:
        """Names of x's rows as bytes [..., K] and of their magnitudes fp32 [..., 1]."""
        high = self._node("ReduceMax", [x, self._last], f"{name}_high", keepdims=1)
        low = self._node("ReduceMin", [x, self._last], f"{name}_low", keepdims=1)
        under = self._node("Neg", [low], f"{name}_under")
        magnitude = self._node("Max", [high, under, self._floor], f"{name}_magnitude")
        unit = self._node("Div", [x, magnitude], f"{name}_unit")
        return self._node("QuantizeLinear", [unit, self._step, self._zero], f"{name}_bytes"), magnitude

    def _node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: int) -> str:
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}_node", domain=domain, **attributes)
        )
        return output

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def ancestors(model: onnx.ModelProto, tensors: list[str]) -> set[str]:
    """Names of all nodes that `tensors` are computed from."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    names: set[str] = set()
    open_ = list(tensors)
    while open_:
        node = made_by.get(open_.pop())
        if node is not None and node.name not in names:
            names.add(node.name)
            open_ += node.input
    return names


def _keep_used(model: onnx.ModelProto, added: list[onnx.TensorProto]) -> None:
    """Initialisers become those still read, old and `added`: replaced fp32 weights leave the file."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [i for i in (*model.graph.initializer, *added) if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
