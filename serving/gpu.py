"""What a GPU server meets on this machine, and the plans of a repository held against it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from resonance.serving.errors import RepositoryError
from resonance.serving.plans import GpuMachine, PlanNote, check_plans, read_notes
from resonance.serving.repository import DEFAULT_FILES, Model

PROBE = Path(__file__).parent / "gpu_probe.py"
PROBE_TIMEOUT_S = 60.0  # a driver that has slept takes seconds to wake
#: What Triton must be told before it loads a plan that carries its own lean runtime, which is code.
VERSION_COMPATIBLE_FLAG = "--backend-config=tensorrt,version-compatible=true"


def plan_flags(models: Iterable[Model]) -> list[str]:
    """Flags for Triton that the plans of `models` need, once they were found to run on this machine.

    A repository without notes of plans is not looked into, and neither is the GPU.

    Raises:
        RepositoryError: a plan is for another GPU or TensorRT, or its note is broken.
    """
    notes = [
        found
        for model in models
        if model.config.backend == "tensorrt"
        for found in read_notes(
            (p for p in sorted(model.path.iterdir()) if p.is_dir() and p.name.isdigit()),
            model.config.default_model_filename or DEFAULT_FILES["tensorrt"],
        )
    ]
    if not notes:
        return []
    check_plans(notes, probe_machine(notes[0][1]))
    return [VERSION_COMPATIBLE_FLAG] if any(note.version_compatible for _, note in notes) else []


def probe_machine(note: PlanNote) -> GpuMachine:
    """GPUs and TensorRT of this machine; the library is looked for by the major version of `note`.

    Raises:
        RepositoryError: the probe itself failed, which a broken driver causes.
    """
    major = note.tensorrt_version.split(".")[0]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(PROBE), major],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise RepositoryError(
            f"the GPU cannot be asked what it is ({error}); is its driver in order?"
        ) from error
    return GpuMachine(tuple((name, cc) for name, cc in found["gpus"]), found["tensorrt_version"])
