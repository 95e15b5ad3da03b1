"""A Triton backend named `onnxruntime`, in Python, for servers that lack the C++ one.

Triton picks this folder up for `backend: "onnxruntime"`. The file stands alone: the stub process
imports it with numpy, onnxruntime and Triton's own utilities only. One instance is one process and
holds one session. Requests whose inputs have the same shape beyond the batch axis may share a run; when
that fails, its requests run alone, so that only the bad one is refused.

Model parameters read (the C++ backend's names): `intra_op_thread_count` (here 1 when absent),
`inter_op_thread_count`, `enable_mem_arena`, `enable_mem_pattern`. And three of its own, which the C++
backend ignores:

- `max_requests_per_run`: a bound on the requests that share a run. On a CPU a graph with large activations
  runs slower in a batch (they outgrow the cache), one with small ones faster. Kernels sum in another order
  for one row than for many, so with more than 1 the graph must see to it that an answer is a function of
  its own request.
- `max_numbers_per_run`: requests share a run only as long as its largest input has no more numbers than this.
- `parallel_runs`: runs side by side on threads of this process, which share the session and so its weights,
  in memory and in the caches. (Two instances hold the weights twice. Answering each request as its run
  ends, through response senders, was faster still, but requests of a process that dies then hang.)

A graph whose metadata has `resonance.trimmed_by`, the name of an input [B, L] of ones and zeros, is run
without the columns where that is zero: lengths are rounded up to 8 and requests grouped by them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

Array = npt.NDArray[Any]

#: Triton's data type -> ONNX tensor type. Strings are refused: no encoder takes them.
ONNX_TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
}

#: What is over sooner costs less than to hand it to a thread, or to ask the server about its caller.
WORTH_ASKING_S = 0.001
#: Weight of the newest run in the running mean of what one costs.
NEWEST = 0.1
#: Rows are trimmed to a multiple of this: few lengths, so that requests find company.
TRIM_STEP = 8
#: See `resonance.export.onnx_export`, which this file cannot import.
TRIMMED_BY_KEY = "resonance.trimmed_by"

#: onnxruntime's exceptions that say the input is wrong; every other one is the server's.
CALLER_FAULTS = ("InvalidArgument",)


class BadRequestError(ValueError):
    """One request cannot be answered; `code` is Triton's error code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Item:
    """One request being answered: its place in the batch Triton gave, inputs, wanted outputs, rows."""

    place: int
    feeds: dict[str, Array]
    wanted: Sequence[str]
    rows: int

    @property
    def size(self) -> int:
        """Numbers of the largest input: about what a run costs."""
        return max(array.size for array in self.feeds.values())


class TritonPythonModel:
    """One onnxruntime session behind one Triton model instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph and compare it with the config; a difference is an error that names both."""
        config = json.loads(args["model_config"])
        self._name = args["model_name"]
        parameters = config.get("parameters", {})
        self._batched = int(config.get("max_batch_size", 0)) > 0
        self._per_run = int(parameters.get("max_requests_per_run", {}).get("string_value") or 0)
        self._numbers_per_run = int(parameters.get("max_numbers_per_run", {}).get("string_value") or 0)
        path = os.path.join(
            args["model_repository"],
            args["model_version"],
            config.get("default_model_filename") or "model.onnx",
        )
        if not os.path.isfile(path):
            raise pb_utils.TritonModelException(f"{self._name}: {path} is missing; run `make export`")
        try:
            self._session = ort.InferenceSession(
                path,
                session_options(parameters),
                providers=["CPUExecutionProvider"],
                # the fused kernel of onnxruntime 1.32 takes three times as long as the two it replaces
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except Exception as error:
            raise pb_utils.TritonModelException(
                f"{self._name}: {path} cannot be loaded ({one_line(error)}); run `make export`"
            ) from None
        complaints = [
            *differences("input", config["input"], self._session.get_inputs(), self._batched),
            *differences("output", config["output"], self._session.get_outputs(), self._batched),
        ]
        if complaints:
            raise pb_utils.TritonModelException(
                f"{self._name}: {path} does not fit its config: {'; '.join(complaints)}"
            )
        self._inputs = [t["name"] for t in config["input"]]
        self._trimmed_by = self._session.get_modelmeta().custom_metadata_map.get(TRIMMED_BY_KEY)
        self._parallel = int(parameters.get("parallel_runs", {}).get("string_value") or 1)
        self._s_per_number = 0.0  # running mean; see Item.size
        self._pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="run")

    def finalize(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. Never raises: that would fail every request of the batch."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[Item]] = {}
        for place, request in enumerate(requests):
            try:
                item = self._read(place, request)
                if self._expected_s(item.size) > WORTH_ASKING_S and request.is_cancelled():
                    raise BadRequestError(f"{self._name}: the caller is gone", pb_utils.TritonError.CANCELLED)
            except BadRequestError as error:
                responses[place] = refusal(error)
                continue
            # Requests of a model without a batch axis are never joined: each is its own group.
            key = tuple((a.dtype, a.shape[1:]) for a in item.feeds.values()) if self._batched else place
            groups.setdefault(key, []).append(item)
        runs = self._runs(list(groups.values()))
        if len(runs) > 1 and self._parallel > 1:
            for _ in self._pool.map(lambda run: self._answer(run, responses), runs):
                pass
        else:
            for run in runs:
                self._answer(run, responses)
        return responses

    def _runs(self, groups: Sequence[list[Item]]) -> list[list[Item]]:
        """The groups in pieces of which each thread gets as much as the others, the longest first."""
        whole_s = self._expected_s(sum(item.size for group in groups for item in group))
        threads = max(1, min(self._parallel, int(whole_s / WORTH_ASKING_S)))
        share = -(-sum(map(len, groups)) // threads)
        runs = []
        for group in groups:
            step = min(self._per_run or share, share)
            if self._numbers_per_run:
                step = min(step, max(1, self._numbers_per_run // max(item.size for item in group)))
            runs += [group[at : at + step] for at in range(0, len(group), step)]
        return sorted(runs, key=lambda run: -sum(item.size for item in run))

    def _expected_s(self, numbers: int) -> float:
        """How long that much input takes, by the runs so far."""
        return numbers * self._s_per_number

    def _answer(self, group: list[Item], responses: list[Any]) -> None:
        """Run a group as one batch; when that fails, each request alone."""
        try:
            split = self._run(group)
        except BadRequestError as error:
            if len(group) == 1:
                responses[group[0].place] = refusal(error)
                return
            for item in group:
                self._answer([item], responses)
            return
        for item, arrays in zip(group, split, strict=True):
            tensors = [pb_utils.Tensor(name, arrays[name]) for name in item.wanted]
            responses[item.place] = pb_utils.InferenceResponse(output_tensors=tensors)

    def _read(self, place: int, request: Any) -> Item:
        """The request's arrays, without a copy: they are views of the shared memory region."""
        feeds: dict[str, Array] = {}
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise BadRequestError(
                    f"{self._name}: input {name} is missing; expected {', '.join(self._inputs)}",
                    pb_utils.TritonError.INVALID_ARG,
                )
            feeds[name] = tensor.as_numpy()
            if not feeds[name].size:
                raise BadRequestError(
                    f"{self._name}: input {name} has shape {list(feeds[name].shape)}; expected some numbers",
                    pb_utils.TritonError.INVALID_ARG,
                )
        rows = {name: a.shape[0] for name, a in feeds.items()} if self._batched else {"": 1}
        if len(set(rows.values())) > 1:
            raise BadRequestError(
                f"{self._name}: inputs differ in batch size, came {rows}; expected one size",
                pb_utils.TritonError.INVALID_ARG,
            )
        if self._trimmed_by is not None:
            feeds = trimmed(feeds, feeds[self._trimmed_by])
        return Item(place, feeds, request.requested_output_names(), next(iter(rows.values())))

    def _run(self, group: list[Item]) -> list[Mapping[str, Array]]:
        """Outputs of each item of the group, from one run of the graph.

        Raises:
            BadRequestError: the graph refused the input, or gave a wrong row count or non-finite numbers.
        """
        wanted = list(dict.fromkeys(name for item in group for name in item.wanted))
        feeds = group[0].feeds  # a batch of one needs no copy
        if len(group) > 1:
            feeds = {n: np.concatenate([item.feeds[n] for item in group]) for n in self._inputs}
        started_s = time.perf_counter()
        try:
            arrays = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
        except Exception as error:
            code = (
                pb_utils.TritonError.INVALID_ARG
                if type(error).__name__ in CALLER_FAULTS
                else pb_utils.TritonError.INTERNAL
            )
            raise BadRequestError(f"{self._name}: {one_line(error)}; came {shapes(feeds)}", code) from None
        newest = (time.perf_counter() - started_s) / sum(item.size for item in group)
        self._s_per_number += NEWEST * (newest - self._s_per_number)
        rows = sum(item.rows for item in group)
        for name, array in arrays.items():
            self._check(name, array, rows, feeds)
        if len(group) == 1:
            return [arrays]
        split: list[Mapping[str, Array]] = []
        start = 0
        for item in group:
            split.append({name: array[start : start + item.rows] for name, array in arrays.items()})
            start += item.rows
        return split

    def _check(self, name: str, array: Array, rows: int, feeds: Mapping[str, Array]) -> None:
        """One row of output for each row of input, and every number finite."""
        if self._batched and (array.ndim == 0 or array.shape[0] != rows):
            raise BadRequestError(
                f"{self._name}: output {name} has shape {list(array.shape)}; expected {rows} row(s) first",
                pb_utils.TritonError.INTERNAL,
            )
        if array.dtype.kind != "f" or np.isfinite(array).all():
            return
        unfit = [n for n, a in feeds.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
        if unfit:  # looked for only now: inputs are large and nearly always fine
            raise BadRequestError(
                f"{self._name}: input {', '.join(unfit)} holds NaN or infinity; expected finite numbers",
                pb_utils.TritonError.INVALID_ARG,
            )
        raise BadRequestError(
            f"{self._name}: output {name} holds NaN or infinity for finite inputs {shapes(feeds)}",
            pb_utils.TritonError.INTERNAL,
        )


def trimmed(feeds: Mapping[str, Array], mask: Array) -> dict[str, Array]:
    """`feeds` [B, L] without the last columns where `mask` [B, L] is zero in every row; the length left is a
    multiple of TRIM_STEP, or L. Inputs of other lengths than the mask's are left for the graph to refuse."""
    if any(array.shape != mask.shape for array in feeds.values()):
        return dict(feeds)
    used = np.flatnonzero(mask.any(axis=0))
    last = int(used[-1]) + 1 if used.size else 1
    length = -(-last // TRIM_STEP) * TRIM_STEP
    return {name: array[:, :length] for name, array in feeds.items()}


def session_options(parameters: Mapping[str, Mapping[str, str]]) -> ort.SessionOptions:
    """Session options from the config's `parameters`."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors: warnings of every load would bury the server's own log
    # Spinning threads look for work on cores that other instances need; two sessions lost 30% to it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    value = {key: entry.get("string_value", "") for key, entry in parameters.items()}
    options.intra_op_num_threads = int(value.get("intra_op_thread_count") or 1)
    if value.get("inter_op_thread_count"):
        options.inter_op_num_threads = int(value["inter_op_thread_count"])
    if value.get("enable_mem_arena"):
        options.enable_cpu_mem_arena = value["enable_mem_arena"] != "0"
    if value.get("enable_mem_pattern"):
        options.enable_mem_pattern = value["enable_mem_pattern"] != "0"
    return options


def differences(kind: str, declared: Sequence[Any], found: Sequence[Any], batched: bool) -> list[str]:
    """What the config declares and the graph does not have: names, types, ranks, fixed sizes.

    Every input of the graph must be declared; an output that the config leaves out is only not served.
    """
    complaints = []
    graph = {t.name: t for t in found}
    undeclared = sorted(graph.keys() - {t["name"] for t in declared})
    if kind == "input" and undeclared:
        complaints.append(f"the graph's input(s) {', '.join(undeclared)} are not in the config")
    for tensor in declared:
        name, node = tensor["name"], graph.get(tensor["name"])
        if node is None:
            complaints.append(f"{kind} {name} is not in the graph, which has {', '.join(graph)}")
            continue
        expected = ONNX_TYPES.get(tensor["data_type"])
        if node.type != expected:
            complaints.append(f"{kind} {name} is {node.type}, expected {expected or tensor['data_type']}")
        dims = [int(d) for d in tensor["dims"]]
        full = [-1, *dims] if batched else dims
        shape = [d if isinstance(d, int) else -1 for d in node.shape]  # names and None are variable
        fits = len(shape) == len(full) and all(
            a == b or -1 in (a, b) for a, b in zip(full, shape, strict=True)
        )
        if not fits:
            complaints.append(f"{kind} {name} has shape {node.shape}, expected {full}")
        elif batched and shape and shape[0] != -1:
            complaints.append(f"{kind} {name} has a fixed batch of {shape[0]}, expected a variable one")
    return complaints


def shapes(feeds: Mapping[str, Array]) -> str:
    """The inputs as ``NAME uint8[1, 4, 224, 224, 3]``."""
    return ", ".join(f"{n} {a.dtype}{list(a.shape)}" for n, a in feeds.items())


def one_line(error: Exception) -> str:
    """onnxruntime's message without its log prefix and without line breaks."""
    text = " ".join(str(error).split())
    return text.rsplit("Status Message:", 1)[-1].strip()


def refusal(error: BadRequestError) -> Any:
    """The response that refuses one request."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), error.code))
