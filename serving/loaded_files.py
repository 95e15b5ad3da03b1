"""The files that a server was started with: what is loaded after a change would be of another space."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from resonance.serving.repository import Model

#: Read by models beside it, and the name of what all of them make.
_SPACE = Path("space_descriptor", "1", "space.json")
_CACHE = "__pycache__"  # written as models are loaded

Signature = tuple[int, int]


class LoadedFiles:
    """Size and time of change of every file in the version folders of `models`, as they are now.

    Files that come later are nobody's: a plan may be exported beside the ONNX that is served. Nor are hidden
    ones: an export is made there before it takes the place of what is served. A file's number does not count,
    for file systems over a network give another to the same file.

    Raises:
        OSError: one cannot be looked at.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self._seen = {model.name: _signatures(model.path) for model in models}

    def changed(self, model: str) -> list[Path]:
        """What `model` would be loaded from that is not what it was, or that is gone."""
        return [path for path, was in self._seen.get(model, {}).items() if _is_other(path, was)]


def _signatures(folder: Path) -> dict[Path, Signature | None]:
    versions = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit())
    paths = [Path(parent, name) for version in versions for parent, names in _walk(version) for name in names]
    return {path: _signature(path) for path in dict.fromkeys([*paths, folder.parent / _SPACE])}


def _walk(version: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders and the names of files in them, without those that no model is loaded from."""
    for parent, folders, names in os.walk(version):
        folders[:] = [name for name in folders if name != _CACHE and not name.startswith(".")]
        yield parent, sorted(name for name in names if not name.startswith("."))


def _signature(path: Path) -> Signature | None:
    """None: it is not there."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state.st_size, state.st_mtime_ns


def _is_other(path: Path, was: Signature | None) -> bool:
    try:
        return _signature(path) != was
    except OSError:  # of a network, for a moment
        return False
