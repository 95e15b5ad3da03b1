"""Finds a Triton Inference Server and lays out what it needs beside it.

In NVIDIA's container that is the `tritonserver` on PATH; elsewhere the binary inside the PyPI wheel
nvidia-pytriton, of which nothing else is used. The stub processes of Triton's Python backend ignore
PYTHONPATH: the first `python3` on PATH selects their environment, hence `server_environment`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.extras import extra_hint
from resonance.serving.errors import TritonNotUsableError

INSTALL_HINT = f"{extra_hint('serve')}, or run in NVIDIA's container"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: Backends written in Python that this package brings, by the name models ask for.
OWN_BACKENDS = Path(__file__).parent / "backends"


@dataclass(frozen=True, slots=True)
class Triton:
    """A Triton installation.

    Attributes:
        binary: the `tritonserver` executable.
        backends: its folder of backends.
        caches: its folder of response caches.
        stub: the Python backend's stub for this Python version.
        from_wheel: whether it is the PyPI wheel's, without any backend but Python's.
    """

    binary: Path
    backends: Path
    caches: Path
    stub: Path
    from_wheel: bool = False

    def backend_names(self) -> set[str]:
        """Backends it brings itself."""
        return {path.name for path in self.backends.iterdir() if path.is_dir()}


def find_triton() -> Triton:
    """The container's Triton if `tritonserver` is on PATH, else the wheel's.

    Raises:
        TritonNotUsableError: there is none, or its stub is for another Python.
    """
    on_path = shutil.which("tritonserver")
    if on_path:
        root = Path(on_path).resolve().parent.parent  # <root>/bin/tritonserver
        stub = root / "backends" / "python" / "triton_python_backend_stub"
        found = Triton(Path(on_path).resolve(), root / "backends", root / "caches", stub)
    else:
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            raise TritonNotUsableError(f"no Triton server found; {INSTALL_HINT}")
        root = Path(spec.origin).parent / "tritonserver"
        stub = root / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
        found = Triton(
            root / "bin" / "tritonserver", root / "backends", root / "caches", stub, from_wheel=True
        )
    if not found.binary.is_file():
        raise TritonNotUsableError(f"{found.binary} is missing from its installation; {INSTALL_HINT}")
    check_stub(found.stub)
    return found


def check_stub(stub: Path) -> None:
    """The stub must be built for this Python, or models would load another interpreter's packages.

    Raises:
        TritonNotUsableError: it is missing or built for another version; the message names both.
    """
    if not stub.is_file():
        siblings = sorted(p.name for p in stub.parent.parent.glob("*.*") if p.is_dir())
        stubs = f"; this Triton has stubs for {', '.join(siblings)}" if siblings else ""
        raise TritonNotUsableError(f"{stub}: no Python backend stub for Python {PYTHON}{stubs}")
    built_for = re.search(rb"libpython(\d+\.\d+)\.so", stub.read_bytes())
    if built_for and built_for.group(1).decode() != PYTHON:
        raise TritonNotUsableError(
            f"{stub} is built for Python {built_for.group(1).decode()}, this environment is Python {PYTHON}; "
            "install this package into that Python, or build a stub for this one"
        )


def check_numpy() -> None:
    """Triton's Python backend of this version hands zeros to numpy 2 and kills the stub on text.

    Raises:
        TritonNotUsableError: numpy 2 or later is installed, or none.
    """
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        raise TritonNotUsableError(f"numpy is not installed; {INSTALL_HINT}") from None
    if int(version.split(".")[0]) >= 2:
        raise TritonNotUsableError(
            f"numpy {version} is installed, but this Triton reads zeros from numpy 2 arrays; "
            "run `pip install 'numpy<2'`"
        )


def find_libpython() -> Path:
    """The folder that holds this Python's shared library, which the stub is linked against.

    Raises:
        TritonNotUsableError: there is none; the message names the Debian package.
    """
    name = f"libpython{PYTHON}.so.1.0"
    folders = [
        sysconfig.get_config_var("LIBDIR") or "",
        os.path.join(sys.base_prefix, "lib"),
        os.path.join("/usr/lib", sysconfig.get_config_var("MULTIARCH") or ""),
        "/usr/lib64",
        "/usr/local/lib",
    ]
    for folder in folders:
        # not Path.is_file, which raises where another user's folder may not be read
        if folder and os.path.isfile(os.path.join(folder, name)):
            return Path(folder)
    raise TritonNotUsableError(
        f"{name} was not found in {', '.join(f for f in folders if f)}; Triton's Python models need it: "
        f"`apt-get install libpython{PYTHON}` (Debian, Ubuntu), or use a Python built with --enable-shared"
    )


def lay_out_backends(triton: Triton, folder: Path, needed: Set[str] = frozenset({"onnxruntime"})) -> Path:
    """The backend directory to serve from.

    Where Triton brings every one of `needed` itself, its own is used as it is, and so is it where what
    it lacks is not ours to give. Otherwise the installation is mirrored in `folder`, with links: to
    Triton's backends, to the stub of this Python, and to those backends of this package that Triton
    lacks.
    """
    own = {p.name: p for p in OWN_BACKENDS.iterdir() if (p / "model.py").is_file()}
    lacking = (own.keys() & needed) - triton.backend_names()
    if not lacking and "onnxruntime" in triton.backend_names():
        return triton.backends
    # As deep as in the wheel, whose libraries find each other at ../../../../nvidia_pytriton.libs.
    libraries = triton.backends.parents[2] / "nvidia_pytriton.libs"
    folder = folder / "pytriton" / "tritonserver" / "backends"
    folder.mkdir(parents=True)
    if libraries.is_dir():
        (folder.parents[2] / libraries.name).symlink_to(libraries)
    for name in triton.backend_names() - {"python"}:
        (folder / name).symlink_to(triton.backends / name)
    python = folder / "python"
    python.mkdir()
    for item in (triton.backends / "python").iterdir():
        if item.suffix == ".so":  # Triton refuses a library that a link leads out of its backend's folder
            shutil.copy2(item, python)
        elif item.name not in ("__pycache__", triton.stub.name):
            (python / item.name).symlink_to(item)
    (python / triton.stub.name).symlink_to(triton.stub)
    for name in own.keys() - triton.backend_names():
        (folder / name).symlink_to(own[name])
    return folder


def count_in_python(triton: Triton, needed: Set[str]) -> int:
    """How many of the backends `needed` run in Python: `python` itself, and those of this package in use."""
    return len(({"python"} | ({p.name for p in OWN_BACKENDS.iterdir()} - triton.backend_names())) & needed)


def loader_folders() -> set[Path]:
    """Folders of the system's own libraries, where the loader looks anyway.

    Named first in LD_LIBRARY_PATH they would go before what a container put there with a purpose, such as
    CUDA's libraries for older drivers.
    """
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    return {Path(root, name) for root in ("/lib", "/usr/lib") for name in ("", multiarch)} | {
        Path("/usr/lib64")
    }


#: For glibc, in the processes of the wheel's server: keep freed buffers instead of giving each back to
#: the kernel. A request of 600 KB cost 84 page faults with the defaults, 1 with these, and 4% less CPU.
#: 32 MiB is the largest threshold glibc takes.
MALLOC_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(1024 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "1",
}


def server_environment(triton: Triton, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables of the server, from `base` (default: this process's).

    Raises:
        TritonNotUsableError: this Python's shared library is nowhere.
    """
    environment = dict(os.environ if base is None else base)
    for name in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD"):
        environment.pop(name, None)
    # `bin` of the virtual environment, not of the interpreter behind its link: hence no resolve().
    interpreter = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([interpreter, environment.get("PATH", os.defpath)])
    libpython = find_libpython()
    if libpython not in loader_folders():
        libraries = [str(libpython), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(p for p in libraries if p)
    # A process a model instance: pools of their own in each would only fight over the cores.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    if triton.from_wheel:
        for name, value in MALLOC_SETTINGS.items():
            environment.setdefault(name, value)
    return environment
