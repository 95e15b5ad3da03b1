"""A virtual environment for each contender, made from a pinned list beside this file."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"


class Environment(StrEnum):
    """Its folder, and the name of its list."""

    INFINITY = "infinity"
    TRANSFORMERS = "transformers"


def make_environment(folder: Path, environment: Environment) -> Path:
    """Install what is pinned into `folder`/NAME unless it stands there; minutes and 1 to 2 GB the first time.

    Returns:
        The folder of its programs.

    Raises:
        RuntimeError: pip failed; its last words.
    """
    pinned = REQUIREMENTS / f"{environment}.txt"
    target = folder / environment
    programs, stamp = target / "bin", target / "installed.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == pinned.read_text(encoding="utf-8"):
        return programs
    _run([sys.executable, "-m", "venv", "--clear", str(target)])
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch first and alone: its version decides what everything after it may install
    _run(
        [*pip, *(line for line in pinned.read_text().splitlines() if line.startswith(("torch==", "numpy==")))]
    )
    _run([*pip, "--requirement", str(pinned)])
    stamp.write_text(pinned.read_text(encoding="utf-8"), encoding="utf-8")
    return programs


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed ({done.returncode}): {done.stderr.strip()[-1500:]}")
