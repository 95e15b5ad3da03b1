"""Prints this machine's GPUs and TensorRT as JSON: ``gpu_probe.py [MAJOR]``.

Run as a script with `python -I -S`, in a process of its own: the driver and TensorRT's library stay out of
the process that looks after Triton. Imports nothing of ours. Both libraries are asked by their C
interfaces, as neither torch nor TensorRT's Python package need be where Triton serves.
"""

import ctypes
import json
import sys

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute in cuda.h


def gpus() -> "list[tuple[str, str]]":
    """(name, compute capability) of each GPU that CUDA shows, CUDA_VISIBLE_DEVICES respected."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for ordinal in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        if cuda.cuDeviceGet(ctypes.byref(device), ordinal) or cuda.cuDeviceGetName(name, 256, device):
            continue
        parts = []
        for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
            value = ctypes.c_int()
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            parts.append(value.value)
        found.append((name.value.decode(errors="replace"), f"{parts[0]}.{parts[1]}"))
    return found


def tensorrt_version(major: str) -> str:
    """All four parts of the version of libnvinfer.so.`major`; empty if it cannot be loaded."""
    try:
        library = ctypes.CDLL(f"libnvinfer.so.{major}")
        parts = [getattr(library, f"getInferLib{part}Version")() for part in _PARTS]
    except (OSError, AttributeError):
        return ""
    return ".".join(str(part) for part in parts)


_PARTS = ("Major", "Minor", "Patch", "Build")

if __name__ == "__main__":
    print(json.dumps({"gpus": gpus(), "tensorrt_version": tensorrt_version((sys.argv[1:] or ["11"])[0])}))
