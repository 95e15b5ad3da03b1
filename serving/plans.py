"""What is known of a TensorRT plan, and whether it can run here.

A plan runs on the GPU and the TensorRT that it was built with, and Triton says otherwise only in a log,
model by model. `resonance export --target tensorrt` writes a note beside each plan; it is compared with
this machine before Triton starts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from resonance.serving.errors import RepositoryError

NOTE = "plan.json"
SCHEMA = 1
REBUILD = "build it here with `resonance export FAMILY --target tensorrt`"


@dataclass(frozen=True, slots=True)
class PlanNote:
    """What `plan.json` says of the plan beside it.

    Attributes:
        model: the model of the repository.
        plan_sha256: of the plan, so that a note is not read for another file.
        source_sha256: of the exported fp32 model.onnx, external weights included.
        network_sha256: of the graph that the plan was built from, as above.
        precision: ``fp16`` (the tower; see docs/tensorrt.md) or ``fp32``.
        gpu_name, compute_capability: of the GPU it was built on, "9.0" for Hopper.
        tensorrt_version: all four parts.
        version_compatible: it also runs on later TensorRT of the same major version.
        hardware_compatibility: ``none``, ``same-compute-capability`` or ``ampere-plus``.
        profiles: for each profile, each input's [minimum, preferred, maximum] shape.
        parity: how it compared with fp32 on onnxruntime when it was built.
    """

    model: str
    plan_sha256: str
    source_sha256: str
    network_sha256: str
    precision: str
    gpu_name: str
    compute_capability: str
    tensorrt_version: str
    version_compatible: bool
    hardware_compatibility: str
    profiles: list[dict[str, list[list[int]]]]
    parity: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the note into `folder`."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2)
        (folder / NOTE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> PlanNote:
        """Raises RepositoryError where `path` holds no note of this schema."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RepositoryError(f"{path}: cannot be read ({error}); {REBUILD}") from error
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if schema != SCHEMA or {f.name for f in fields(cls)} != data.keys():
            raise RepositoryError(
                f"{path}: not a plan's note of schema {SCHEMA} (schema {schema}); {REBUILD}"
            )
        return cls(**data)


@dataclass(frozen=True, slots=True)
class GpuMachine:
    """What plans meet here.

    Attributes:
        gpus: (name, compute capability) of each GPU that CUDA shows, in its order.
        tensorrt_version: of the library that Triton would load, all four parts; empty if there is none.
    """

    gpus: tuple[tuple[str, str], ...]
    tensorrt_version: str


def check_plans(notes: Iterable[tuple[Path, PlanNote]], machine: GpuMachine) -> None:
    """Every plan runs on every GPU of `machine`: Triton puts one instance on each.

    Args:
        notes: each with the plan's path.

    Raises:
        RepositoryError: one line that says for each plan what it is for and what is here.
    """
    problems = [f"{path}: {problem}" for path, note in notes for problem in mismatches(note, machine)]
    if problems:
        raise RepositoryError(f"{'; '.join(problems)}; {REBUILD}")


def mismatches(note: PlanNote, machine: GpuMachine) -> Iterator[str]:
    """Why the plan cannot run on `machine`; nothing if it can."""
    if not machine.gpus:
        yield "needs a GPU, and CUDA shows none here"
    for name, capability in machine.gpus:
        if not _runs_on(note, name, capability):
            yield (
                f"built on {note.gpu_name} (compute capability {note.compute_capability}, hardware "
                f"compatibility {note.hardware_compatibility}), this is {name} ({capability})"
            )
    version = machine.tensorrt_version
    if not version:
        yield f"built with TensorRT {note.tensorrt_version}, and no TensorRT library is found here"
    elif not _runs_with(note, version):
        later = " or a later one of that major version" if note.version_compatible else ""
        yield f"built with TensorRT {note.tensorrt_version}, needs that{later}; here is {version}"


def read_notes(folders: Iterable[Path], plan_name: str = "model.plan") -> Iterator[tuple[Path, PlanNote]]:
    """The notes of version folders that hold a plan; a plan without one was built by other means and is
    left to Triton.

    Raises:
        RepositoryError: a note is broken or describes another file.
    """
    for folder in folders:
        plan, path = folder / plan_name, folder / NOTE
        if not plan.is_file() or not path.is_file():
            continue
        note = PlanNote.read(path)
        with plan.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != note.plan_sha256:
            raise RepositoryError(
                f"{path} describes another plan: sha256 {note.plan_sha256[:12]}…, {plan.name} has "
                f"{found[:12]}…; {REBUILD}"
            )
        yield plan, note


def _runs_on(note: PlanNote, name: str, capability: str) -> bool:
    if note.hardware_compatibility == "ampere-plus":
        return _numbers(capability) >= (8, 0)
    same = capability == note.compute_capability
    return same and (note.hardware_compatibility == "same-compute-capability" or name == note.gpu_name)


def _runs_with(note: PlanNote, version: str) -> bool:
    built, here = _numbers(note.tensorrt_version), _numbers(version)
    return here == built or (note.version_compatible and here[0] == built[0] and here >= built)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
