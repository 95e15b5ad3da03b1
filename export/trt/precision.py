"""The graph that a plan is built from: fp16 where it is safe, fp32 where numbers carry units.

TensorRT 11 takes every tensor's type from the ONNX file and has no precision flags, so this file decides.
fp16 goes to what lies inside a graph's `encoder` module, the learned tower and nearly all of its work.
Everything else stays fp32: the reduction of pictures, spectra and their logarithms (powers below 6e-8 do
not exist in fp16), the signals, pooling, the projection and the unit norm; of the tower its local contrast,
which is a small difference over a small spread (in fp16 its error was 150 times that of all other layers).
The fusion head is small and stays fp32 as a whole.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from resonance.clients.extras import extra_hint
from resonance.export.int8_graphs import ancestors
from resonance.export.onnx_export import cpu_session
from resonance.export.onnx_files import save_graph
from resonance.export.reference import Row
from resonance.export.trt.errors import TensorRTError, TensorRTMissingError

#: The submodule of every encoder graph that holds its learned tower.
TOWER = "encoder"
#: The submodule of a tower that is computed and not learned.
CONTRAST = f"{TOWER}.contrast"
#: Rows on which numbers too large for fp16 are looked for.
RANGE_ROWS = 8
#: A node of the tower stays fp32 if a number at it is larger than this in magnitude on those rows: fp16 ends
#: at 65,504, and other media may be louder. AutoCast's own 512 spares precision; here the measured cosine
#: decides about that.
LARGEST = 8_192.0

INSTALL_MODELOPT = f"NVIDIA ModelOpt is needed to write fp16 graphs: {extra_hint('tensorrt')}"
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, slots=True)
class Precision:
    """How the floating-point nodes of a graph are divided; `name` is ``fp16`` or ``fp32``."""

    name: str
    fp16_nodes: int
    nodes: int


def write_network(model: str, source: Path, target: Path, rows: Sequence[Row]) -> Precision:
    """Write the graph that the plan of `model` is built from.

    Args:
        source: the exported fp32 ONNX file.
        target: gets the network; large weights stand beside it in ``<name>.data``.
        rows: reference inputs; at most `RANGE_ROWS` are used.

    Raises:
        TensorRTMissingError: ModelOpt is not installed.
        TensorRTError: `source` is no fp32 export, has no tower, or AutoCast failed on it.
    """
    graph = onnx.load(source)
    _refuse_other_artifacts(graph, source)
    cast_bytes_first(graph)
    if model == "title_fusion":
        save_graph(graph, target)
        return Precision("fp32", 0, len(graph.graph.node))
    tower = tower_nodes(graph)
    if not tower:
        raise TensorRTError(
            f"{source}: no node belongs to a module '{TOWER}', so nothing would be fp16; "
            "expected an encoder graph of this exporter"
        )
    if not rows:
        raise TensorRTError(f"{source}: no reference inputs for {model}; give media with --reference-media")
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "model.onnx")
        save_graph(graph, prepared)
        tower -= large_nodes(prepared, tower, rows)
        keep = [node.name for node in graph.graph.node if node.name not in tower]
        save_graph(_autocast(source, prepared, keep), target)
    return Precision("fp16", _count_fp16(target), len(onnx.load(target, load_external_data=False).graph.node))


def cast_bytes_first(model: onnx.ModelProto) -> None:
    """Let every uint8 input be read by one Cast to fp32 and by nothing else, in place.

    The exporter reshapes bytes and casts them afterwards; TensorRT takes bytes at a network's edge only.
    """
    for tensor in model.graph.input:
        if tensor.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        wide = f"{tensor.name}_fp32"
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                if name == tensor.name:
                    node.input[place] = wide
        cast = helper.make_node("Cast", [tensor.name], [wide], name=f"{wide}_node", to=onnx.TensorProto.FLOAT)
        model.graph.node.insert(0, cast)
        del model.graph.value_info[:]  # types downstream are other ones now


def tower_nodes(model: onnx.ModelProto) -> set[str]:
    """Nodes of the tower, but for its contrast, that no output but the first is computed from; by name."""
    others = ancestors(model, [output.name for output in model.graph.output][1:])
    scopes = {node.name: _scopes(node) for node in model.graph.node}
    return {
        name
        for name, within in scopes.items()
        if within[:1] == [TOWER] and CONTRAST not in within and name not in others
    }


def large_nodes(path: Path, nodes: Set[str], rows: Sequence[Row]) -> set[str]:
    """Those of `nodes` of the graph at `path` that read or write a number above `LARGEST` on some of `rows`.

    AutoCast can find them itself, from `calibration_data`, but keeps every activation of every row for it:
    the memory of a machine for a tower of published size. Here the graph hands out magnitudes alone; for that
    it stands in the folder of `path` for a moment.
    """
    # weights that stand apart stay where they are: with them in it a graph may be too large to be one message
    model = onnx.load(path, load_external_data=False)
    probe = onnx.shape_inference.infer_shapes(model, check_type=True)
    floats = {
        v.name
        for v in (*probe.graph.value_info, *probe.graph.output, *probe.graph.input)
        if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    members = [node for node in model.graph.node if node.name in nodes]
    names = sorted({name for node in members for name in (*node.input, *node.output)} & floats)
    del probe.graph.output[:]
    for name in names:
        magnitude, peak = f"{name}_magnitude", f"{name}_peak"
        probe.graph.node.append(helper.make_node("Abs", [name], [magnitude], name=f"{magnitude}_node"))
        probe.graph.node.append(
            helper.make_node("ReduceMax", [magnitude], [peak], name=f"{peak}_node", keepdims=0)
        )
        probe.graph.output.append(helper.make_tensor_value_info(peak, onnx.TensorProto.FLOAT, []))
    file = path.with_name("probe.onnx")  # in the folder of the weights that it refers to
    try:
        onnx.save(probe, file)
        session = cpu_session(file)
    finally:
        file.unlink(missing_ok=True)
    chosen = rows[:: max(1, len(rows) // RANGE_ROWS)][:RANGE_ROWS]
    peaks = np.max([session.run(None, row.inputs) for row in chosen], axis=0)
    large = {name for name, peak in zip(names, peaks, strict=True) if not peak <= LARGEST}
    return {node.name for node in members if large.intersection((*node.input, *node.output))}


def _scopes(node: onnx.NodeProto) -> list[str]:
    """The submodules of the exported graph that `node` is in, the outermost first; none where unknown."""
    scopes = {p.key: p.value for p in node.metadata_props}.get(_SCOPES)
    names = ast.literal_eval(scopes) if scopes else []
    return [str(name) for name in names[1:-1]]  # the first is the graph, the last the operation itself


def _refuse_other_artifacts(model: onnx.ModelProto, source: Path) -> None:
    artifact = {p.key: p.value for p in model.metadata_props}.get("resonance.artifact", "fp32")
    if artifact != "fp32":
        raise TensorRTError(
            f"{source} is the artifact {artifact}; expected fp32: export again without --int8"
        )


def _autocast(source: Path, prepared: Path, keep: Sequence[str]) -> onnx.ModelProto:
    with _quiet():
        try:
            from modelopt.onnx.autocast import convert_to_mixed_precision
        except ImportError as error:
            raise TensorRTMissingError(f"{INSTALL_MODELOPT} ({error})") from error
        try:
            converted = convert_to_mixed_precision(
                onnx_path=str(prepared),
                low_precision_type="fp16",
                # one pattern of all names: the library compiles each pattern anew for each node
                nodes_to_exclude=[f"(?:{'|'.join(re.escape(name) for name in keep)})$"],
                data_max=float("inf"),  # see `large_nodes`
                keep_io_types=True,
            )
            # it notes shapes of one batch as if they were those of all: onnxruntime then shares buffers
            # between tensors that differ, and fails at the next batch size
            del converted.graph.value_info[:]
            return converted
        except Exception as error:  # it raises whatever its parts raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TensorRTError(f"{source}: AutoCast to fp16 failed: {reason}") from error


def _count_fp16(path: Path) -> int:
    """Nodes with a result in fp16. Types are inferred strictly: a network of TensorRT forbids mixing them."""
    model = onnx.shape_inference.infer_shapes(
        onnx.load(path, load_external_data=False), check_type=True, strict_mode=True
    )
    half = {
        v.name
        for v in (*model.graph.value_info, *model.graph.output)
        if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    return sum(any(name in half for name in node.output) for node in model.graph.node)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ModelOpt logs each node it looks at, on handlers of its own, and prints and warns at import."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
