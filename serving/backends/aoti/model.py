"""A Triton backend named `aoti`, in Python: AOTInductor packages on the GPU or the CPU, by PyTorch alone.

Triton picks this folder up for `backend: "aoti"`. Tensors come and go through DLPack and are not copied
to the host: with `FORCE_CPU_ONLY_INPUT_TENSORS` "no" what an ensemble's earlier step left on the GPU
stays there. One instance is one process and holds one package. Requests whose inputs have the same shape
beyond the batch axis run as ONE batch; when a batch fails, its requests run alone, so that only the bad
one is refused. A fault of the device is the server's and told so; where it leaves the GPU's context broken,
this process ends, and whoever looks after the server starts it anew.

Model parameters read: `cuda_graph_batches` (see `runner.GRAPH_BATCHES`; "none" for no graphs).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    from resonance.serving.backends.aoti import runner, unpacking
else:  # the folder is no package where Triton loads it from
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import runner
    import unpacking

BROKEN = 70  # this process's exit code; EX_SOFTWARE of sysexits.h

#: Triton's data type -> torch's. Strings are refused: no encoder takes them.
TORCH_TYPES = {
    "TYPE_BOOL": torch.bool,
    "TYPE_UINT8": torch.uint8,
    "TYPE_INT32": torch.int32,
    "TYPE_INT64": torch.int64,
    "TYPE_FP16": torch.float16,
    "TYPE_BF16": torch.bfloat16,
    "TYPE_FP32": torch.float32,
}


class BadRequestError(ValueError):
    """One request cannot be answered; `code` is Triton's error code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Item:
    """One request being answered: its place in the batch Triton gave, inputs, wanted outputs, rows."""

    place: int
    feeds: list[torch.Tensor]
    wanted: Sequence[str]
    rows: int


class TritonPythonModel:
    """One package behind one Triton model instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the package; one that was built for another place is refused with what differs."""
        config = json.loads(args["model_config"])
        self._name = args["model_name"]
        self._batched = int(config.get("max_batch_size", 0)) > 0
        self._inputs = {t["name"]: self._type(t) for t in config["input"]}
        self._outputs = {t["name"]: self._type(t) for t in config["output"]}
        path = os.path.join(
            args["model_repository"],
            args["model_version"],
            config.get("default_model_filename") or "model.pt2",
        )
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._unpacked = unpacking.Unpacked()
        try:
            with self._unpacked.used():
                self._runner = runner.Runner(
                    path,
                    self._device,
                    batched=self._batched,
                    graph_batches=graph_batches(config.get("parameters", {})),
                )
        except (runner.PackageError, ValueError) as error:
            raise pb_utils.TritonModelException(f"{self._name}: {error}") from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. Never raises: that would fail every request of the batch."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[Item]] = {}
        for place, request in enumerate(requests):
            if request.is_cancelled():
                gone = BadRequestError(f"{self._name}: the caller is gone", pb_utils.TritonError.CANCELLED)
                responses[place] = refusal(gone)
                continue
            try:
                item = self._read(place, request)
            except BadRequestError as error:
                responses[place] = refusal(error)
                continue
            # Requests of a model without a batch axis are never joined: each is its own group.
            key = tuple(x.shape[1:] for x in item.feeds) if self._batched else place
            groups.setdefault(key, []).append(item)
        for group in groups.values():
            self._answer(group, responses)
        return responses

    def _answer(self, group: list[Item], responses: list[Any]) -> None:
        """Run a group as one batch; when that fails, each request alone."""
        try:
            answers = self._run(group)
        except BadRequestError as error:
            if len(group) == 1:
                responses[group[0].place] = refusal(error)
                return
            for item in group:
                self._answer([item], responses)
            return
        for item, tensors in zip(group, answers, strict=True):
            responses[item.place] = pb_utils.InferenceResponse(output_tensors=tensors)

    def _read(self, place: int, request: Any) -> Item:
        """The request's tensors where they are, without a copy."""
        feeds = []
        for name, dtype in self._inputs.items():
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise BadRequestError(
                    f"{self._name}: input {name} is missing; expected {', '.join(self._inputs)}",
                    pb_utils.TritonError.INVALID_ARG,
                )
            x = torch.from_dlpack(tensor.to_dlpack())
            if not x.numel():
                raise BadRequestError(
                    f"{self._name}: input {name} has shape {list(x.shape)}; expected some numbers",
                    pb_utils.TritonError.INVALID_ARG,
                )
            # DLPack has no bool in this version of Triton: it comes as bytes of 0 and 1
            feeds.append(x.view(dtype) if dtype is torch.bool and x.element_size() == 1 else x)
        rows = {name: x.shape[0] for name, x in zip(self._inputs, feeds, strict=True)}
        if self._batched and len(set(rows.values())) > 1:
            raise BadRequestError(
                f"{self._name}: inputs differ in batch size, came {rows}; expected one size",
                pb_utils.TritonError.INVALID_ARG,
            )
        return Item(place, feeds, request.requested_output_names(), feeds[0].shape[0] if feeds else 1)

    def _run(self, group: list[Item]) -> list[list[Any]]:
        """Triton's tensors of each request, from one run of the whole group.

        Raises:
            BadRequestError: the package refused the input, or gave a wrong shape or non-finite numbers; or
                the device failed.
        """
        try:
            feeds = group[0].feeds  # a batch of one needs no copy
            if len(group) > 1:
                feeds = [torch.cat(parts) for parts in zip(*(item.feeds for item in group), strict=True)]
            outputs = dict(zip(self._outputs, self._runner.run(feeds), strict=True))
            self._check(outputs, feeds, sum(item.rows for item in group))
            answers = self._split(outputs, group)
            if self._device != "cpu":
                torch.cuda.synchronize(self._device)  # Triton reads the answers on a stream of its own
        except BadRequestError:
            raise
        except Exception as error:  # torch raises RuntimeError for the caller's faults and its own
            told = f"{self._name}: {runner.one_line(error)}"
            if runner.device_lost(self._device):
                print(f"{told}; the GPU's context is lost, ending this process", file=sys.stderr, flush=True)
                os._exit(BROKEN)
            code = (
                pb_utils.TritonError.INTERNAL
                if runner.is_device_fault(error)
                else pb_utils.TritonError.INVALID_ARG
            )
            raise BadRequestError(f"{told}; came {self._shapes(group[0].feeds)}", code) from None
        return answers

    def _split(self, outputs: dict[str, torch.Tensor], group: list[Item]) -> list[list[Any]]:
        """Each request's rows of the outputs that it wants."""
        answers, start = [], 0
        for item in group:
            stop = start + item.rows
            tensors = []
            for name, whole in outputs.items():
                if name in item.wanted:
                    # A copy of its own: a CUDA graph's next replay writes over what it gave before.
                    mine = (whole[start:stop] if self._batched else whole).clone(
                        memory_format=torch.contiguous_format
                    )
                    tensors.append(pb_utils.Tensor.from_dlpack(name, mine))
            answers.append(tensors)
            start = stop
        return answers

    def _check(self, outputs: dict[str, torch.Tensor], feeds: Sequence[torch.Tensor], rows: int) -> None:
        """Raises BadRequestError where shapes or numbers are none that may be answered."""
        for name, out in outputs.items():
            if self._batched and (out.dim() == 0 or out.shape[0] != rows):
                raise BadRequestError(
                    f"{self._name}: output {name} has shape {list(out.shape)}; expected {rows} row(s) first",
                    pb_utils.TritonError.INTERNAL,
                )
            if not bool(torch.isfinite(out).all()):
                raise BadRequestError(
                    f"{self._name}: output {name} holds NaN or infinity; came {self._shapes(feeds)}",
                    pb_utils.TritonError.INVALID_ARG
                    if any(x.is_floating_point() and not bool(torch.isfinite(x).all()) for x in feeds)
                    else pb_utils.TritonError.INTERNAL,
                )

    def _type(self, tensor: dict[str, Any]) -> torch.dtype:
        dtype = TORCH_TYPES.get(tensor["data_type"])
        if dtype is None:
            raise pb_utils.TritonModelException(
                f"{self._name}: {tensor['name']} is {tensor['data_type']}, expected one of "
                f"{', '.join(TORCH_TYPES)}"
            )
        return dtype

    def _shapes(self, feeds: Sequence[torch.Tensor]) -> str:
        """The inputs as ``NAME uint8[1, 4, 224, 224, 3]``."""
        named = zip(self._inputs, feeds, strict=True)
        return ", ".join(f"{n} {str(x.dtype).removeprefix('torch.')}{list(x.shape)}" for n, x in named)


def graph_batches(parameters: dict[str, dict[str, str]]) -> tuple[int, ...]:
    """The config's `cuda_graph_batches`.

    Raises:
        ValueError: it is neither "none" nor numbers above 0.
    """
    text = parameters.get("cuda_graph_batches", {}).get("string_value", "")
    if not text:
        return runner.GRAPH_BATCHES
    if text == "none":
        return ()
    batches = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if min(batches) < 1:
        raise ValueError(f"parameter cuda_graph_batches is '{text}'; expected numbers like 1,8,32, or none")
    return tuple(batches)


def refusal(error: BadRequestError) -> Any:
    """The response that refuses one request."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), error.code))
