"""Seeded weights that are the same on every machine, and the hash that names them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from resonance.clients.new_files import whole_file
from resonance.space.plain import canonical_sha256, to_plain

#: Of heads: the keys of an encoder's two hashes in the file's metadata, after "<model>.".
FROZEN_SHA256, PREPROCESSING_SHA256 = "frozen_sha256", "preprocessing_sha256"


class WeightsError(ValueError):
    """A weights file cannot be read or does not fit a module; the message names file and tensor."""


class OtherEncoderError(WeightsError):
    """Heads were made on an encoder of other weights or preprocessing; the message names file and encoder."""


@dataclass(frozen=True, slots=True)
class MadeOn:
    """What an encoder was when heads were made on it: its `frozen_sha256` and `preprocessing_sha256`; None
    where the file is of a version that did not write it."""

    weights: str | None
    preprocessing: str | None


def _saved(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, and the buffers that are saved with them: what a batch norm keeps."""
    saved = module.state_dict().keys()
    buffers = {name: buffer for name, buffer in module.named_buffers() if name in saved}
    return {**dict(module.named_parameters()), **buffers}


def _stored(module: nn.Module) -> dict[str, Tensor]:
    """Those of them that a weights file holds: how many batches a norm has seen is of no use."""
    return {name: tensor for name, tensor in _saved(module).items() if tensor.is_floating_point()}


def save_weights(modules: Mapping[str, nn.Module], path: Path, metadata: Mapping[str, str]) -> None:
    """Write the parameters and running statistics of `modules` as float16 under "<model>.<name>".

    Training ends with the rounded numbers: what is written is what the space is made of.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {
        f"{model}.{name}": tensor.detach().to("cpu", torch.float16).contiguous()
        for model, module in modules.items()
        for name, tensor in _stored(module).items()
    }
    _write(tensors, path, metadata)


def save_heads(
    modules: Mapping[str, nn.Module], path: Path, preprocessing: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the projections of the encoders and the whole fusion head, in the form of `save_weights`, and in
    the metadata which encoders they are for: weights, and the `preprocessing` of each one's card.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {
        f"{model}.{name}": parameter.detach().to("cpu", torch.float16).contiguous()
        for model, module in modules.items()
        for name, parameter in module.named_parameters()
        if name.startswith("projection.") or model == "title_fusion"
    }
    encoders = [model for model in modules if model != "title_fusion"]
    weights = {f"{model}.{FROZEN_SHA256}": frozen_sha256(modules[model]) for model in encoders}
    constants = {
        f"{model}.{PREPROCESSING_SHA256}": preprocessing_sha256(preprocessing[model]) for model in encoders
    }
    _write(tensors, path, weights | constants)


def _write(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """The library's own writing of files raises errors of its own, which do not say that a disk is full."""
    with whole_file(path) as half:
        half.write_bytes(save(dict(tensors), dict(metadata)))


def encoders_of_heads(path: Path) -> dict[str, MadeOn]:
    """What each encoder was that the heads at `path` are for; none where the file is of a version that did
    not write it.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    models = {key.partition(".")[0] for key in metadata}
    return {
        model: MadeOn(
            metadata.get(f"{model}.{FROZEN_SHA256}"), metadata.get(f"{model}.{PREPROCESSING_SHA256}")
        )
        for model in sorted(models)
    }


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: cannot be read as safetensors ({error})")


def load_weights(module: nn.Module, path: Path, model: str, *, all_of_it: bool = True) -> None:
    """Fill the parameters of `module` in place from the tensors of `model` in `path`.

    Args:
        all_of_it: every parameter must be in the file; else those that are not keep their values.

    Raises:
        WeightsError: the file cannot be read, holds nothing for `model`, misses a parameter, has one that
            is unknown, or one of another shape.
    """
    try:
        with safe_open(path, "pt") as file:
            names = [key for key in file.keys() if key.startswith(f"{model}.")]  # noqa: SIM118
            stored = {key.removeprefix(f"{model}."): file.get_tensor(key) for key in names}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    parameters = _stored(module)
    missing = sorted(set(parameters) - set(stored)) if all_of_it else []
    unknown = sorted(set(stored) - set(parameters))
    if not stored or missing or unknown:
        raise WeightsError(
            f"{path}: {model} has {len(stored)} tensors; missing {missing or 'none'}, "
            f"unknown {unknown or 'none'}; the file belongs to another family or version"
        )
    with torch.no_grad():
        for name, values in stored.items():
            if values.shape != parameters[name].shape:
                raise WeightsError(
                    f"{path}: {model}.{name} has shape {tuple(values.shape)}; "
                    f"expected {tuple(parameters[name].shape)}"
                )
            parameters[name].copy_(values)


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
    return _sha256(_saved(module))


def frozen_sha256(module: nn.Module) -> str:
    """The same of an encoder without its projection: what stands still when heads are aligned."""
    return _sha256({n: tensor for n, tensor in _saved(module).items() if not n.startswith("projection.")})


def preprocessing_sha256(constants: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of a graph's preprocessing, which names the tokenizer too."""
    return canonical_sha256(to_plain(constants))


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().to(torch.float32).cpu().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())
