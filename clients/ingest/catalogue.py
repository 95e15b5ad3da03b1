"""What should be ingested: files, folders, globs and manifests, here or in an object store, as a stream.

Nothing is held but the names of the folder that is being looked at, so a title that comes twice is not seen
here; the journal sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from resonance.clients.errors import NotMediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.file_systems import asked, file_system
from resonance.clients.ingest.folders import (
    EXPECTED_SOURCE,
    Given,
    local_folder,
    local_glob,
    remote_folder,
    remote_glob,
)
from resonance.clients.ingest.manifest import MANIFEST_SUFFIXES, FaultyRow, checked, read_manifest
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import local_path, suffix
from resonance.clients.ingest.walk import fixed_parts, is_pattern

__all__ = ["FaultyRow", "check_there", "read_catalogue"]


def read_catalogue(sources: Sequence[str]) -> Iterator[CatalogueItem | FaultyRow]:
    """The titles of all `sources`, in their order. Blocks.

    A title of a folder is named by its path in that folder, one of a glob or a named file by its path or URI,
    one of a manifest by its ``id`` or else its ``uri``. Subtitles beside video or sound belong to it and are
    no title. What names no title is handed out as a `FaultyRow`, and the rest goes on.

    Raises:
        CatalogueError: a source is not there or cannot be read.
        ServerError, UsageError: see `resonance.clients.ingest.file_systems`.
    """
    for source in sources:
        path = local_path(source)
        yield from _remote(source) if path is None else _local(source, path)


def check_there(sources: Sequence[str]) -> None:
    """Before anything is made or asked. What is elsewhere than on this machine is not looked at.

    Raises:
        CatalogueError: a source is not there.
    """
    for source in sources:
        path = local_path(source)
        if path is not None:
            _kind(source, path)


def folder_of(source: str) -> str:
    """Its path or URI, with a slash at its end: the folder that all titles of a source are in, as it names
    them. Of a folder that is itself, of a manifest one in which there is none.
    """
    path = local_path(source)
    parts = (str(path) if path is not None else source.rstrip("/")).split("/")
    return "".join(f"{part}/" for part in parts[: fixed_parts(parts)])


def _local(source: str, path: Path) -> Iterator[Given]:
    match _kind(source, path):
        case "folder":
            yield from local_folder(path)
        case "file":
            yield from _named(source)
        case _:
            yield from _globbed(source, local_glob(path))


def _kind(source: str, path: Path) -> Literal["folder", "file", "pattern"]:
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise CatalogueError(source, f"{type(error).__name__}: {error}", EXPECTED_SOURCE) from error
    if is_folder:
        return "folder"
    if is_there:
        return "file"
    if is_pattern(str(path)):
        return "pattern"
    raise CatalogueError(source, "it is not there", EXPECTED_SOURCE)


def _remote(source: str) -> Iterator[Given]:
    if suffix(source) in MANIFEST_SUFFIXES and not is_pattern(source):
        yield from read_manifest(source)
        return
    try:
        system, name = file_system(source)
        kind = asked(source, lambda: system.info(name))["type"]
    except NotMediaError as error:
        if not isinstance(error.__cause__, FileNotFoundError) or not is_pattern(source):
            raise CatalogueError(source, error.came, EXPECTED_SOURCE) from error
        kind = "pattern"
    if kind == "pattern":
        yield from _globbed(source, remote_glob(source))
    elif kind == "directory":
        yield from remote_folder(source)
    else:
        yield from _named(source)


def _named(source: str) -> Iterator[Given]:
    if suffix(source) in MANIFEST_SUFFIXES:
        yield from read_manifest(source)
    else:
        yield checked(source, CatalogueItem(media_id=source, uri=source))


def _globbed(source: str, items: Iterator[Given]) -> Iterator[Given]:
    found = False
    for item in items:
        found = True
        yield item
    if not found:
        raise CatalogueError(source, "no media of such a name", EXPECTED_SOURCE)
