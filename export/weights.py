"""Seeded weights that are the same on every machine, and the hash that names them."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import torch
from torch import nn


def seed_weights(module: nn.Module, seed: int, *, zero: tuple[str, ...] = ()) -> None:
    """Fill `module` in place from `seed`, each parameter from a stream of its own name.

    numpy's PCG64 is used since its output does not depend on the processor, as torch's may. Matrices
    get N(0, 1/fan_in), tables and tokens N(0, 0.02^2), norms their identity, biases zero. Parameters
    whose name starts with one of `zero` are zero.
    """
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            parameter.copy_(torch.from_numpy(_initial(name, tuple(parameter.shape), seed, zero)))


def _initial(name: str, shape: tuple[int, ...], seed: int, zero: tuple[str, ...]) -> np.ndarray:
    leaf = name.rsplit(".", 1)[-1]
    if name.startswith(zero) or leaf.endswith("bias"):
        return np.zeros(shape, np.float32)
    is_norm = len(shape) == 1 and leaf == "weight"
    if is_norm:
        return np.ones(shape, np.float32)
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    is_table = "embedding" in name and "patch" not in name and "projection" not in name
    is_matrix = len(shape) >= 2 and leaf.endswith("weight") and not is_table
    deviation = 1.0 / np.sqrt(np.prod(shape[1:])) if is_matrix else 0.02
    return (generator.standard_normal(shape) * deviation).astype(np.float32)


def weights_sha256(module: nn.Module) -> str:
    """sha256 over names, shapes and float32 little-endian bytes of all parameters, by name.

    Buffers that are saved with a module (running statistics of a batch norm) count as parameters.
    """
    digest = hashlib.sha256()
    saved = module.state_dict().keys()
    tensors = [
        *module.named_parameters(),
        *((name, buffer) for name, buffer in module.named_buffers() if name in saved),
    ]
    for name, tensor in sorted(tensors, key=lambda named: named[0]):
        values = tensor.detach().to(torch.float32).cpu().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())
