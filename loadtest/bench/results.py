"""What a run of the bench depends on, and its figures as JSON, kept whole while it goes on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from resonance.loadtest.bench.bare import INTRA_OP_THREADS
from resonance.space.descriptor import Descriptor

PACKAGES = ("onnxruntime", "tritonclient", "nvidia-pytriton", "av", "numpy", "grpcio", "tokenizers")
#: What libraries read to choose their number of threads.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_HERE = Path(__file__).resolve().parent

Row = dict[str, Any]


class ResultsError(Exception):
    """A file of figures cannot be used."""


def environment(repository: Path) -> dict[str, Any]:
    """What figures depend on; `repository` holds the served models."""
    space = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
    return {
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.exists() else "not readable",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "family": space.name,
        "fingerprint": space.fingerprint[:12],
        "threads": {
            "a run of a graph": str(INTRA_OP_THREADS),
            **{name: os.environ.get(name, "not set") for name in THREAD_VARIABLES},
        },
    }


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor and how many cores this process may use."""
    lines = cpuinfo.read_text().split("\n\n", 1)[0].splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name", platform.machine())
    kind = f"family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}"
    return f"{name} ({kind}), {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    """Of the code, with a ``+`` where files differ from it; ``unknown`` outside a clone."""
    git = ["git", "-C", str(_HERE)]
    said = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if said.returncode:
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    return said.stdout.strip() + ("+" if changed.returncode else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


class Results:
    """Figures by part, in a file that is whole at every moment.

    Args:
        keep: parts that stand in the file stay until they are measured again, each with its date and commit.

    Raises:
        ResultsError: they were measured on another machine, or with other weights.
    """

    def __init__(self, path: Path, environment: Mapping[str, Any], *, keep: bool = False) -> None:
        self.path = path
        self.figures: dict[str, Any] = {"environment": dict(environment), "measured": {}}
        if keep and path.exists():
            before = load(path)
            for name in ("machine", "fingerprint"):
                came, expected = before["environment"][name], environment[name]
                if came != expected:
                    raise ResultsError(
                        f"{path}: {name} is {came}, and now {expected}; expected one: name another file "
                        "with --out, or leave out --keep"
                    )
            self.figures = {**before, "environment": dict(environment)}

    def record(self, part: str, rows: Iterable[Any]) -> None:
        """Rows of `part`, dataclasses; writes the file."""
        told = self.figures["environment"]
        self.figures[part] = [asdict(row) for row in rows]
        self.figures["measured"][part] = {"date": told["date"], "commit": told["commit"]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.figures, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.path)


def load(path: Path) -> dict[str, Any]:
    """The figures of a run.

    Raises:
        ResultsError: it is no file that `Results` wrote.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; expected what `make bench` writes") from error
    missing = [name for name in ("environment", "measured") if name not in figures]
    if missing:
        raise ResultsError(f"{path}: no {', '.join(missing)}; expected what `make bench` writes")
    return dict(figures)
