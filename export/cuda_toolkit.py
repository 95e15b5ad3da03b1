"""Where the headers of CUDA and Python and the driver's library are, for what PyTorch compiles on a GPU.

PyTorch takes the folder two above `nvcc` for the toolkit, which is wrong where that is a script, and links
against ``libcuda.so``, a name that a driver need not come with.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

#: What is compiled includes these, the last two by way of `cuda_runtime_api.h` and `cuda_fp16.h`. The wheels
#: that PyTorch depends on bring the first alone.
HEADERS = (Path("include/cuda.h"), Path("include/crt/host_defines.h"), Path("include/nv/target"))
LIBRARY = "libcuda.so"
PYTHON_HEADER = "Python.h"
_INSTALLED = Path("/usr/local")


class ToolkitError(RuntimeError):
    """Headers or the driver's library are not here; the message says where they were looked for."""


def use_toolkit() -> None:
    """Let this process's compilations, and those of its children, find headers and library.

    Sets ``CUDA_HOME`` and ``LIBRARY_PATH``.

    Raises:
        ToolkitError: one of them is nowhere, or `PYTHON_HEADER` is.
    """
    check_python_header()
    home = find_home()
    os.environ["CUDA_HOME"] = str(home)
    loaded = sys.modules.get("torch.utils.cpp_extension")  # it reads the variable when it is imported
    if loaded is not None:
        loaded.CUDA_HOME = str(home)  # type: ignore[attr-defined]
    folders = os.environ.get("LIBRARY_PATH", "").split(os.pathsep)
    folder = str(find_library(home))
    if folder not in folders:
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (folder, *folders)))


def check_python_header() -> None:
    """Triton and Inductor compile modules of Python's, and what they say where its header is missing is an
    exit status.

    Raises:
        ToolkitError: it is missing.
    """
    # as Triton does; Debian's own scheme names a folder that has none
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
    folder = Path(sysconfig.get_path("include", scheme))
    if not (folder / PYTHON_HEADER).is_file():
        raise ToolkitError(
            f"{folder} has no {PYTHON_HEADER}, which compilers of PyTorch need; install the headers of this "
            f"Python (Debian and Ubuntu: python3.{sys.version_info.minor}-dev)"
        )


def find_home(installed: Path = _INSTALLED) -> Path:
    """The folder with `HEADERS`: named by the environment, above `nvcc`, installed, or of wheels.

    Raises:
        ToolkitError: none has all of them.
    """
    looked = []
    for folder in _homes(installed):
        lacking = next((header for header in HEADERS if not (folder / header).is_file()), None)
        if lacking is None:
            return folder
        looked.append(f"{folder} lacks {lacking}")
    raise ToolkitError(
        f"CUDA's headers are not here: {'; '.join(looked)}; install CUDA's toolkit of PyTorch's version, or "
        "name it with CUDA_HOME; beside the wheels of CUDA 13 it is enough to `pip install nvidia-cuda-crt "
        "nvidia-cuda-cccl`, of the version of nvidia-cuda-runtime"
    )


def _homes(installed: Path) -> Iterator[Path]:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        yield Path(nvcc).resolve().parent.parent
    yield installed / "cuda"
    yield from sorted(installed.glob("cuda-*"), reverse=True)
    # those of CUDA 12 are a folder each, and PyTorch looks into one
    yield Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13"


def find_library(home: Path, installed: Sequence[Path] | None = None) -> Path:
    """A folder with ``libcuda.so``: CUDA's stub, the driver's, or a link to the driver's ``libcuda.so.1``.

    Args:
        installed: the driver's libraries; by default those that the loader knows.

    Raises:
        ToolkitError: there is none.
    """
    for folder in (home / "lib64" / "stubs", home / "lib" / "stubs"):
        if (folder / LIBRARY).exists():
            return folder
    known = list(_known_to_the_loader() if installed is None else installed)
    for path in known:
        if path.name == LIBRARY and path.exists():
            return path.parent
    for path in known:
        if path.exists():
            folder = Path(tempfile.mkdtemp(prefix="resonance-libcuda-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            (folder / LIBRARY).symlink_to(path.resolve())
            return folder
    raise ToolkitError(f"no {LIBRARY} in {home} and none that the loader knows; install NVIDIA's driver")


def _known_to_the_loader() -> Iterator[Path]:
    found = re.compile(rf"=> (\S+/{re.escape(LIBRARY)}(?:\.1)?)$", re.MULTILINE)
    command = shutil.which(
        "ldconfig", path=os.pathsep.join((os.environ.get("PATH", ""), "/sbin", "/usr/sbin"))
    )
    if command is not None:
        listed = subprocess.run([command, "-p"], capture_output=True, text=True, check=False).stdout
        yield from map(Path, found.findall(listed))
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if folder:
            yield from (Path(folder) / name for name in (LIBRARY, f"{LIBRARY}.1"))
