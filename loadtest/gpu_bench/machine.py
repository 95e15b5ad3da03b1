"""What the figures depend on: the GPU, its driver and clocks, versions, date and command."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from resonance.serving.backends.aoti.runner import WORKSPACE, WORKSPACE_KIB
from resonance.training.tuning import ENVIRONMENT

#: Printed with every run where they are installed.
PACKAGES = ("torch", "triton", "tensorrt", "nvidia-dali-cuda130", "av", "numpy", "matplotlib", "rich")
#: What parts need besides PyTorch: by what it is called here, what Python imports, or a library by its names.
IMPORTED = {"PyAV": "av", "DALI": "nvidia.dali", "TensorRT in Python": "tensorrt"}
LOADED = {
    "NVDEC": ("libnvcuvid.so.1",),
    "TensorRT": ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so"),
}
_NVIDIA_SMI = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu"


def environment(device: str) -> dict[str, str]:
    """Everything that is known of this machine, as text."""
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "resonance.loadtest.gpu_bench", *sys.argv[1:]]),
        "device": device,
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),  # as the kernel counts: hardware threads
        "threads_per_core": _threads_per_core(),
        **at_hand(),
        "cublaslt_workspace_kib": os.environ.get(WORKSPACE, str(WORKSPACE_KIB)),
        "memory_kept": ", ".join(f"{k}={os.environ[k]}" for k in ENVIRONMENT if k in os.environ) or "no",
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": str(properties.multi_processor_count),
            "memory_gib": f"{properties.total_memory / 2**30:.1f}",
            "cuda": str(torch.version.cuda),
            **gpu_state(),
        }
    return found


def gpu_state() -> dict[str, str]:
    """Driver, clocks, power and temperature as nvidia-smi says; empty where it cannot be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    try:
        answer = subprocess.run(  # its arguments are fixed
            [program, f"--query-gpu={_NVIDIA_SMI}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    first = answer.stdout.strip().partition("\n")[0]  # of the first GPU; it may have answered nothing
    return dict(zip(_NVIDIA_SMI.split(","), first.split(", "), strict=False)) if first else {}


def at_hand() -> dict[str, str]:
    """Of what parts need besides PyTorch, whether it can be loaded here, or why not."""
    reasons = {name: missing(module) for name, module in IMPORTED.items()}
    reasons |= {name: not_loaded(*libraries) for name, libraries in LOADED.items()}
    return {name: f"no: {reason}" if reason else "can be loaded" for name, reason in reasons.items()}


def not_loaded(*libraries: str) -> str:
    """Why none of `libraries` can be loaded, as the first of them says, or an empty text."""
    reasons = []
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            reasons.append(f"{library} cannot be loaded here ({error})")
        else:
            return ""
    return reasons[0]


def missing(module: str) -> str:
    """Why `module` cannot be imported, or an empty text."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything
        return f"{module} cannot be imported here ({type(error).__name__}: {error})"
    return ""


def _processor() -> str:
    names = [cpu["model name"] for cpu in processors(_cpuinfo()) if "model name" in cpu]
    return names[0] if names else platform.machine()


def _threads_per_core() -> str:
    allowed = {str(number) for number in os.sched_getaffinity(0)}
    return threads_per_core([cpu for cpu in processors(_cpuinfo()) if cpu["processor"] in allowed])


def threads_per_core(cpus: Sequence[Mapping[str, str]]) -> str:
    """How many of `cpus` share a core on average; two threads of a core do less than two cores."""
    cores = {(cpu.get("physical id"), cpu.get("core id")) for cpu in cpus}
    known = cpus and all("core id" in cpu for cpu in cpus)
    return f"{len(cpus) / len(cores):g}" if known else "unknown"


def processors(cpuinfo: str) -> list[dict[str, str]]:
    """The fields of each processor in /proc/cpuinfo."""
    found: list[dict[str, str]] = []
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == "processor":
            found.append({})
        if colon and found:
            found[-1][key.strip()] = value.strip()
    return found


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
