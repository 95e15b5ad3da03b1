"""A family's exported graphs to networks that TensorRT takes, and to plans that are held against them."""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from resonance.export import contract
from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.onnx_export import Arrays, cpu_session, make_inputs
from resonance.export.onnx_files import files_of, sha256_of, size_of
from resonance.export.reference import Reference, Row
from resonance.export.trt.errors import TensorRTError, TensorRTMissingError
from resonance.export.trt.options import BuildOptions
from resonance.export.trt.parity import Parity, Runner, compare, edge_failures
from resonance.export.trt.precision import Precision, write_network
from resonance.export.trt.profiles import Profile, profiles
from resonance.serving.plans import NOTE, PlanNote
from resonance.space.descriptor import Descriptor

SOURCE, NETWORK, PLAN = "model.onnx", "model.tensorrt.onnx", "model.plan"
TENSORRT_MAJOR = 11
#: The version whose bindings this code is checked against; `pyproject.toml` pins the same.
CHECKED_WITH = "11.4"
INSTALL_TENSORRT = (
    f"TensorRT {TENSORRT_MAJOR} is needed to build plans: run in NVIDIA's Triton or TensorRT container, or "
    f"pip install 'tensorrt-cu13=={CHECKED_WITH}.*' from NVIDIA's package index; "
    "`--target tensorrt-onnx` makes and checks the graphs without it"
)
#: Lengths at which the fusion head, which has no reference media, is compared.
FUSION_LENGTHS = (1, 2, 5, 64, 257)


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """One graph on its way to the GPU.

    Attributes:
        artifact: the file that was made last: the network's or the plan's name.
        parity: of that file: a network on onnxruntime's CPU, a plan on the GPU.
    """

    model: str
    artifact: str
    precision: Precision
    profiles: int
    parity: Parity
    size_bytes: int
    seconds: float


def require_tensorrt() -> ModuleType:
    """The module `resonance.export.trt.engine`, which needs TensorRT, on a machine whose GPU it can use.

    Raises:
        TensorRTMissingError: one line that says what to install, or where to run.
    """
    try:
        version = str(importlib.import_module("tensorrt").__version__)
    except ImportError as error:
        raise TensorRTMissingError(f"{INSTALL_TENSORRT} ({error})") from error
    if int(version.split(".")[0]) != TENSORRT_MAJOR:
        raise TensorRTMissingError(f"{INSTALL_TENSORRT} (found TensorRT {version})")
    engine = importlib.import_module("resonance.export.trt.engine")
    engine.current_gpu()
    engine.make_builder(engine.Log())  # torch's CUDA, which was asked, is another one
    return engine


def make_networks(
    card: FamilyCard,
    repository: Path,
    descriptor: Descriptor,
    reference: Reference,
    *,
    on_graph: Callable[[NetworkReport], None] = lambda report: None,
) -> list[NetworkReport]:
    """Write the network of each graph beside its model.onnx and compare the two on onnxruntime's CPU.

    The CPU computes fp16 with fp32 sums in places, so this bounds what rounding weights and activations
    costs, not what a GPU's kernels add to it.

    Raises:
        TensorRTError: a network could not be made, or is not equal enough; all failures of the graph.
    """
    reports = []
    for graph in card.graphs:
        started = time.monotonic()
        folder = repository / graph.model / "1"
        rows = reference_rows(graph, reference)
        choices = profiles(contract.model(graph.model), descriptor)
        precision = write_network(graph.model, folder / SOURCE, folder / NETWORK, rows)
        parity = compare(graph, onnx_runner(folder / SOURCE), onnx_runner(folder / NETWORK), rows, choices)
        _raise_failures(folder / NETWORK, parity.failures)
        size = size_of(folder / NETWORK)
        seconds = time.monotonic() - started
        report = NetworkReport(graph.model, NETWORK, precision, len(choices), parity, size, seconds)
        reports.append(report)
        on_graph(report)
    return reports


def build_plans(
    card: FamilyCard,
    repository: Path,
    descriptor: Descriptor,
    reference: Reference,
    options: BuildOptions,
    *,
    on_graph: Callable[[NetworkReport], None] = lambda report: None,
) -> list[NetworkReport]:
    """Write model.plan and plan.json for each graph, once its engine agrees with fp32 on onnxruntime.

    Raises:
        TensorRTMissingError: no TensorRT or no GPU here.
        TensorRTError: a network or a plan could not be made, or is not equal enough. Plans that were
            there before are gone then; a repository never holds one that was refused.
    """
    engine = require_tensorrt()
    for graph in card.graphs:
        for name in (PLAN, NOTE):
            (repository / graph.model / "1" / name).unlink(missing_ok=True)
    return [
        _build_plan(engine, graph, repository, descriptor, reference, options, on_graph)
        for graph in card.graphs
    ]


def _build_plan(
    engine: ModuleType,
    card: GraphCard,
    repository: Path,
    descriptor: Descriptor,
    reference: Reference,
    options: BuildOptions,
    on_graph: Callable[[NetworkReport], None],
) -> NetworkReport:
    started = time.monotonic()
    model, folder = contract.model(card.model), repository / card.model / "1"
    source, network = folder / SOURCE, folder / NETWORK
    rows, choices, gpu = reference_rows(card, reference), profiles(model, descriptor), engine.current_gpu()
    precision = write_network(card.model, source, network, rows)
    cache = options.cache_file(engine.VERSION, gpu.compute_capability)
    plan = engine.build_plan(network, choices, options, cache)
    runner = engine.Engine(plan, model, choices)
    parity = compare(card, onnx_runner(source), runner, rows, choices)
    parity.failures += edge_failures(model, runner, choices, parity.floor)
    _raise_failures(folder / PLAN, parity.failures)
    (folder / PLAN).write_bytes(plan)
    PlanNote(
        model=model.name,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        source_sha256=sha256_of(source),
        network_sha256=sha256_of(network),
        precision=precision.name,
        gpu_name=gpu.name,
        compute_capability=gpu.compute_capability,
        tensorrt_version=engine.VERSION,
        version_compatible=options.version_compatible,
        hardware_compatibility=options.hardware_compatibility.value,
        profiles=[_as_lists(profile) for profile in choices],
        parity=asdict(parity),
    ).write(folder)
    report = NetworkReport(
        model.name, PLAN, precision, len(choices), parity, len(plan), time.monotonic() - started
    )
    on_graph(report)
    return report


def reference_rows(card: GraphCard, reference: Reference) -> list[Row]:
    """What a graph is compared on: media for the encoders, unit blocks for the fusion head."""
    if card.model != "title_fusion":
        return reference.rows.get(card.model, [])
    model = contract.model(card.model)
    return [
        Row(f"{length} segments", make_inputs(model, batch=length, seed=length)) for length in FUSION_LENGTHS
    ]


def onnx_runner(path: Path) -> Runner:
    """The graph at `path` on onnxruntime's CPU."""
    session = cpu_session(path)

    def run(inputs: Arrays) -> Sequence[np.ndarray]:
        return list(session.run(None, inputs))

    return run


def _as_lists(profile: Profile) -> dict[str, list[list[int]]]:
    return {n: [list(r.minimum), list(r.preferred), list(r.maximum)] for n, r in profile.items()}


def _raise_failures(path: Path, failures: Sequence[str]) -> None:
    """A file that is another space's goes; an incomplete network must not be mistaken for a good one."""
    if failures:
        for part in list(files_of(path)):
            part.unlink(missing_ok=True)
        raise TensorRTError(f"{path} does not agree with {path.with_name(SOURCE)}: {'; '.join(failures)}")
