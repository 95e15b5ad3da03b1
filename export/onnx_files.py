"""An ONNX graph on disk: one file, or one and its weights beside it where they are too large for one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import onnx

#: An ONNX file ends at 2 GB; larger weights stand in model.onnx.data beside it.
MOST_INLINE_BYTES = 1_900_000_000


def data_of(path: Path) -> Path:
    """Where the weights of the graph at `path` are, if they stand apart."""
    return path.with_name(path.name + ".data")


def files_of(path: Path) -> Iterator[Path]:
    """An ONNX file, and the file of its weights where they stand apart."""
    yield path
    if data_of(path).exists():
        yield data_of(path)


def size_of(path: Path) -> int:
    """Bytes of a graph and its weights."""
    return sum(part.stat().st_size for part in files_of(path))


def sha256_of(path: Path) -> str:
    """Of an ONNX file and the weights beside it, if any."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write `model`, its weights beside it where they are too large; then `model` holds them no longer."""
    data_of(path).unlink(missing_ok=True)  # or they would be added to
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save(model, path, save_as_external_data=size > MOST_INLINE_BYTES, location=data_of(path).name)


def replace_graph(path: Path, new: Path) -> None:
    """Let the graph at `new`, whose file has the same name, take the place of the one at `path`."""
    if data_of(new).exists():
        os.replace(data_of(new), data_of(path))
        os.replace(new, path)
    else:
        os.replace(new, path)
        data_of(path).unlink(missing_ok=True)
