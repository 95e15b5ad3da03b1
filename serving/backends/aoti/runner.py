"""An AOTInductor package in memory: checked, warm, and on a GPU replayed from CUDA graphs.

Stands alone beside model.py, with torch and nothing else: the stub process of the backend imports it
from this folder, tests and benchmarks import it as a module.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

#: The record that export writes beside the package.
NOTE = "artifact.aoti.json"
#: The descriptor of a repository's space, from the repository's root.
SPACE = os.path.join("space_descriptor", "1", "space.json")
#: Batches that CUDA graphs are captured for; a batch runs in the smallest that holds it. Above the last,
#: launches cost little beside the work.
GRAPH_BATCHES = (1, 2, 4, 8, 16, 32)
#: Graphs kept, the least recently used dropped first: each holds its own inputs and outputs. E5 and BGE have
#: five token buckets, so 30 graphs; were fewer kept, mixed lengths would capture anew all the time.
MOST_GRAPHS = 40
#: Runs before a capture: the first ones allocate and choose kernels, which a capture must not see.
WARM_UP_RUNS = 2
#: Memory that cuBLASLt works in, by a name that torch reads at the first product. The default is 1 MiB, where
#: cuBLAS, which plain products go to, has 32 MiB on Hopper: with less, products with a bias or an activation
#: inside get slower kernels (https://github.com/pytorch/pytorch/issues/101145).
WORKSPACE, WORKSPACE_KIB = "CUBLASLT_WORKSPACE_SIZE", 32 * 1024
#: Said by errors of the device alone; packages and CUDA's libraries raise plain RuntimeErrors.
DEVICE_WORDS = ("CUDA error", "CUDA driver error", "out of memory", "cuBLAS", "CUBLAS_", "cuDNN", "CUDNN_")


#: A memory pool of CUDA graphs, as `torch.cuda.graph_pool_handle` names it.
Pool = tuple[int, int]


class PackageError(RuntimeError):
    """The package cannot be served here; one line that says why and what to do."""


class GraphPlace(NamedTuple):
    """Memory that graphs share, which takes that all are captured on the same stream (`torch.cuda.graph`)."""

    pool: Pool
    stream: torch.cuda.Stream

    @classmethod
    def of(cls, device: torch.device) -> GraphPlace:
        """A new one on a GPU."""
        return cls(torch.cuda.graph_pool_handle(), torch.cuda.Stream(device))


@dataclass(slots=True)
class Captured:
    """One CUDA graph with the tensors it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]


def set_up_torch() -> None:
    """What this process's products and convolutions run with, where it serves and where it is measured."""
    # cuDNN takes convolutions in TF32 by default: too coarse for a log-mel spectrum.
    torch.backends.cudnn.allow_tf32 = False
    os.environ.setdefault(WORKSPACE, str(WORKSPACE_KIB))


class Runner:
    """One package on one device.

    Args:
        path: the package, its record beside it.
        device: ``cpu`` or ``cuda:N``.
        batched: whether the first axis of every tensor is the batch.
        graph_batches: batches to capture CUDA graphs for; none leaves every run to launch its kernels.

    Raises:
        PackageError: file or record is missing, or it was built for another PyTorch, processor or space.
    """

    def __init__(
        self, path: str, device: str, *, batched: bool, graph_batches: Sequence[int] = GRAPH_BATCHES
    ) -> None:
        self.device = torch.device(device)
        self.record = read_record(path)
        check_place(path, self.record, self.device)
        check_space(path, self.record)
        if self.device.type == "cuda":
            # Else what torch does on the current GPU, such as waiting for it before a capture, makes a
            # context of hundreds of MB on the first GPU, in each process of another one.
            torch.cuda.set_device(self.device)
        self._path = path
        self._batched = batched
        self._graph_batches = sorted(graph_batches) if self.device.type == "cuda" and batched else []
        self._graphs: OrderedDict[tuple[torch.Size, ...], Captured] = OrderedDict()
        # What graphs work on between their inputs and outputs lies in one place: they never run at once.
        self._place: GraphPlace | None = GraphPlace.of(self.device) if self.device.type == "cuda" else None
        set_up_torch()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the loader's own deprecations
                # Single-threaded: the model's own events would clash with the capture of CUDA graphs.
                self._package = torch._inductor.aoti_load_package(
                    path,
                    run_single_threaded=True,
                    device_index=-1 if self.device.index is None else self.device.index,
                )
        except Exception as error:  # torch raises RuntimeError and more for a broken archive
            raise PackageError(f"{path} cannot be loaded ({one_line(error)}); {ADVICE}") from None

    @torch.inference_mode()
    def run(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Outputs for `inputs`, on the device; valid until the next run.

        Inputs elsewhere are moved here. Raises whatever the package raises.
        """
        here = [x.to(self.device, non_blocking=True) for x in inputs]
        rows = here[0].shape[0] if self._batched else 0
        bucket = next((b for b in self._graph_batches if b >= rows), None)
        if bucket is None:
            return self._call(here)
        key = tuple(x.shape[1:] for x in here)
        try:
            captured = self._captured((torch.Size([bucket]), *key), here, bucket)
        except Exception as error:
            return self._without_graphs(here, error)
        for static, x in zip(captured.inputs, here, strict=True):
            static[:rows].copy_(x, non_blocking=True)
        captured.graph.replay()
        return [out[:rows] for out in captured.outputs]

    def _without_graphs(self, inputs: list[torch.Tensor], error: Exception) -> list[torch.Tensor]:
        """Outputs by plain calls, from now on, where no graph could be captured.

        Raises what the package raises: then the inputs were at fault, and graphs stay.
        """
        if device_lost(self.device):
            raise error
        out = self._call(inputs)
        if not isinstance(error, torch.OutOfMemoryError):  # which may be over soon
            told = f"no CUDA graph can be captured ({one_line(error)}); every run launches its kernels"
            print(f"{self._path}: {told}", file=sys.stderr, flush=True)
            self._graph_batches = []
            self._graphs.clear()
        return out

    def _call(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        out = self._package(*inputs)
        return [out] if isinstance(out, torch.Tensor) else list(out)

    def _captured(self, key: tuple[torch.Size, ...], inputs: list[torch.Tensor], bucket: int) -> Captured:
        """The graph of a shape, captured when the shape is first seen."""
        found = self._graphs.get(key)
        if found is not None:
            self._graphs.move_to_end(key)
            return found
        # Spare rows repeat the first one: real values, which no kernel turns into NaN.
        static = [x[:1].repeat(bucket, *[1] * (x.dim() - 1)) for x in inputs]
        captured = capture(self._call, static, self._place)
        self._graphs[key] = captured
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        return captured


def capture(
    call: Callable[[list[torch.Tensor]], list[torch.Tensor]],
    inputs: list[torch.Tensor],
    place: GraphPlace | None = None,
) -> Captured:
    """`call` on exactly these tensors as a CUDA graph, captured at `place`; None: one of its own."""
    device = inputs[0].device
    pool, stream = place or GraphPlace.of(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_RUNS):
            call(inputs)
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # thread_local: what other threads of this process ask of CUDA meanwhile is no part of it
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        outputs = call(inputs)
    return Captured(graph, inputs, outputs)


ADVICE = "build it on this machine with `resonance export FAMILY --target aoti`"


def device_lost(device: torch.device | str) -> bool:
    """Whether the GPU's context is lost, after which nothing runs on it in this process any more."""
    device = torch.device(device)
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception:
        return True
    return False


def is_device_fault(error: BaseException) -> bool:
    """Whether the device failed, and not what it was given: memory, a kernel, the driver."""
    kinds = (torch.OutOfMemoryError, torch.AcceleratorError)
    return isinstance(error, kinds) or any(word in str(error) for word in DEVICE_WORDS)


def read_record(path: str) -> Mapping[str, object]:
    """The record beside the package at `path`.

    Raises:
        PackageError: package or record is missing, or the record is no such JSON.
    """
    note = os.path.join(os.path.dirname(path), NOTE)
    for needed in (path, note):
        if not os.path.isfile(needed):
            raise PackageError(f"{needed} is missing; {ADVICE}")
    try:
        with open(note, encoding="utf-8") as file:
            record = json.load(file)
        if not isinstance(record["built_for"]["device"], str):
            raise ValueError("built_for.device is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackageError(f"{note} is no record of a package ({one_line(error)}); {ADVICE}") from None
    return record


def check_place(path: str, record: Mapping[str, object], device: torch.device) -> None:
    """A package is machine code: the wrong PyTorch or processor would crash instead of saying so.

    Raises:
        PackageError: it names every difference.
    """
    wanted = record["built_for"]
    assert isinstance(wanted, dict)
    here = {"device": device.type, "torch": torch.__version__, "machine": platform.machine()}
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        here["capability"] = f"{major}.{minor}"
    else:
        here["cpu"] = torch.backends.cpu.get_cpu_capability()
    differences = [f"{k} {wanted.get(k)}, here {v}" for k, v in here.items() if wanted.get(k) != v]
    if differences:
        raise PackageError(f"{path} was built for {'; '.join(differences)}; {ADVICE}")


def check_space(path: str, record: Mapping[str, object]) -> None:
    """A package of other weights than the repository's space is said to have gives vectors of another space.

    Nothing is compared where no descriptor stands there, or it says nothing of this model.

    Raises:
        PackageError: it names both weights.
    """
    version = os.path.dirname(os.path.abspath(path))
    model = os.path.basename(os.path.dirname(version))
    space = os.path.join(os.path.dirname(os.path.dirname(version)), SPACE)
    if not os.path.isfile(space):
        return
    try:
        with open(space, encoding="utf-8") as file:
            weights = {
                name: encoder["weights_sha256"] for name, encoder in json.load(file)["encoders"].items()
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{space} is no descriptor ({one_line(error)}); export the family again") from None
    came = record.get("weights_sha256")
    if model in weights and came != weights[model]:
        says = f"{space} says {str(weights[model])[:12]} of {model}"
        raise PackageError(f"{path} has the weights {str(came)[:12]}, and {says}; {ADVICE}")


def one_line(error: BaseException) -> str:
    """An exception's text without line breaks, cut where it grows long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"
