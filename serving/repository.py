"""Reads a model repository as Triton will: which models, their configs for a target, their files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from resonance.clients.paths import is_folder
from resonance.serving.decoder import DALI_MODEL, Decoder
from resonance.serving.errors import RepositoryError

#: Files of backends that load a graph, where the config does not say.
DEFAULT_FILES = {
    "onnxruntime": "model.onnx",
    "tensorrt": "model.plan",
    "aoti": "model.pt2",
    "python": "model.py",
    "resonance_dali": "dali.py",
}

#: Triton counts as many bytes for a text element here; the real size is unknown.
_TEXT_BYTES = 1024

_ITEM_BYTES = {
    pb.TYPE_BOOL: 1,
    pb.TYPE_UINT8: 1,
    pb.TYPE_INT8: 1,
    pb.TYPE_UINT16: 2,
    pb.TYPE_INT16: 2,
    pb.TYPE_FP16: 2,
    pb.TYPE_BF16: 2,
    pb.TYPE_UINT32: 4,
    pb.TYPE_INT32: 4,
    pb.TYPE_FP32: 4,
    pb.TYPE_UINT64: 8,
    pb.TYPE_INT64: 8,
    pb.TYPE_FP64: 8,
    pb.TYPE_STRING: _TEXT_BYTES,
}

_ADVICE = "run `make export`, or name one with --model-repository"


@dataclass(frozen=True, slots=True)
class Model:
    """One folder of the repository."""

    name: str
    path: Path
    config: pb.ModelConfig

    @property
    def is_ensemble(self) -> bool:
        """An ensemble has no files and no process."""
        return bool(self.config.platform == "ensemble")

    @property
    def instances(self) -> int:
        """Model instances on one device; Triton makes one where the config says none."""
        return sum(max(1, group.count) for group in self.config.instance_group) or 1

    def item_bytes(self) -> int:
        """Size of one request of batch 1, inputs and outputs; variable dimensions count once."""
        return sum(
            _ITEM_BYTES.get(t.data_type, 8) * math.prod(max(1, d) for d in t.dims)
            for t in (*self.config.input, *self.config.output)
        )


def read_repository(root: Path, target: str, decoder: Decoder = Decoder.PYAV) -> list[Model]:
    """Every model of `root` with its config for `target` (``cpu``, ``gpu`` or ``aoti``), ordered by name.
    The one that runs DALI is left out unless it is the `decoder`.

    Raises:
        RepositoryError: no such folder, no model in it, one that may not be read, or a config that is not
            Triton's.
    """
    try:
        return _read_repository(root, target, decoder)
    except OSError as error:
        raise RepositoryError(
            f"{error.filename}: cannot be read ({error.strerror}); expected models that this user may read"
        ) from error


def _read_repository(root: Path, target: str, decoder: Decoder) -> list[Model]:
    if not is_folder(root):
        raise RepositoryError(f"model repository {root} is not a folder; {_ADVICE}")
    models = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        path = folder / "configs" / f"{target}.pbtxt"  # Triton's rule, with --model-config-name
        if not path.is_file():
            path = folder / "config.pbtxt"
        if not path.is_file():
            raise RepositoryError(f"{folder}: config.pbtxt is missing; every folder here must be a model")
        try:
            config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise RepositoryError(f"{path}: not a Triton model config ({error})") from error
        if folder.name != DALI_MODEL or decoder is Decoder.DALI:
            models.append(Model(folder.name, folder, config))
    if not models:
        raise RepositoryError(f"model repository {root} holds no model; {_ADVICE}")
    return models


def check_files(models: Iterable[Model], available_backends: set[str]) -> None:
    """Every model has the file that its backend loads, and its backend is there.

    Raises:
        RepositoryError: one line that names every missing file, or the missing backend.
    """
    missing = []
    for model in models:
        if model.is_ensemble:
            continue
        backend = model.config.backend
        if backend not in available_backends:
            raise RepositoryError(
                f"model {model.name} needs the backend '{backend}', this Triton has "
                f"{', '.join(sorted(available_backends))}; use --target cpu, or NVIDIA's container"
            )
        name = model.config.default_model_filename or DEFAULT_FILES.get(backend)
        versions = [p for p in model.path.iterdir() if p.is_dir() and p.name.isdigit()]
        if name and not any((version / name).exists() for version in versions):
            missing.append(f"{model.name}/1/{name}")
    if missing:
        packages = all(name.endswith(DEFAULT_FILES["aoti"]) for name in missing)
        how = "`resonance export FAMILY --target aoti`" if packages else "`make export`"
        raise RepositoryError(f"missing from the model repository: {', '.join(missing)}; run {how}")
