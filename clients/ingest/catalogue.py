"""What should be ingested: files, folders, globs and manifests, here or in an object store, as a stream.

Nothing is held but what is being looked at, so a name that comes twice is not seen here; the journal sees it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec

from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.manifest import MANIFEST_SUFFIXES, FaultyRow, read_manifest
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import local_path, suffix
from resonance.clients.media.text import TEXT_SUFFIXES
from resonance.clients.media.words import SUBTITLE_SUFFIXES

__all__ = ["MEDIA_SUFFIXES", "FaultyRow", "folder_item", "read_catalogue"]

#: Files of a folder that are taken for titles. A file that is named is taken whatever its ending.
MEDIA_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob"),
        *(".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".f4v", ".divx", ".rm", ".rmvb", ".y4m"),
        *(".mp3", ".m4a", ".aac", ".wav", ".flac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".ac3"),
        *(".amr", ".mka", ".caf", ".au", ".mid"),
        *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"),
        *TEXT_SUFFIXES,
        *SUBTITLE_SUFFIXES,
    )
)
_WILD = frozenset("*?[")
EXPECTED_SOURCE = "a file, a folder, a glob or a manifest"


def read_catalogue(sources: Sequence[str]) -> Iterator[CatalogueItem | FaultyRow]:
    """The titles of all `sources`, in their order. Blocks.

    A title of a folder is named by its path in that folder, one of a glob or a named file by its path or URI,
    one of a manifest by its ``id`` or else its ``uri``. Subtitles beside media belong to it and are no title.

    Raises:
        CatalogueError: a source is not there or cannot be read.
    """
    for source in sources:
        if not _WILD.isdisjoint(source) and (local_path(source) is None or not os.path.exists(source)):
            yield from _globbed(source)
        elif local_path(source) is not None:
            yield from _local(source)
        else:
            yield from _remote(source)


def folder_item(path: Path, folder: Path) -> CatalogueItem | None:
    """A file of a folder as a title; None where it is none."""
    if path.name.startswith(".") or path.suffix.lower() not in MEDIA_SUFFIXES:
        return None
    if path.suffix.lower() in SUBTITLE_SUFFIXES and _has_media_beside(path):
        return None
    return CatalogueItem(media_id=path.relative_to(folder).as_posix(), uri=str(path))


def _local(source: str) -> Iterator[CatalogueItem | FaultyRow]:
    path = local_path(source)
    assert path is not None
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "_resonance")))
            for name in sorted(names):
                item = folder_item(Path(folder) / name, path)
                if item is not None:
                    yield item
    elif not path.exists():
        raise CatalogueError(source, "it is not there", EXPECTED_SOURCE)
    elif suffix(source) in MANIFEST_SUFFIXES:
        yield from read_manifest(source)
    else:
        yield CatalogueItem(media_id=source, uri=source)


def _has_media_beside(subtitles: Path) -> bool:
    """film.srt and film.en.srt belong to film.mp4."""
    stems = {subtitles.stem, Path(subtitles.stem).stem}
    others = MEDIA_SUFFIXES - {*SUBTITLE_SUFFIXES, *TEXT_SUFFIXES}
    return any(subtitles.with_name(stem + ending).exists() for stem in stems for ending in others)


def _remote(source: str) -> Iterator[CatalogueItem | FaultyRow]:
    if suffix(source) in MANIFEST_SUFFIXES:
        yield from read_manifest(source)
        return
    try:
        system, name = fsspec.core.url_to_fs(source)
        if system.isfile(name):
            yield CatalogueItem(media_id=source, uri=source)
            return
        if not system.isdir(name):
            raise CatalogueError(source, "it is not there", EXPECTED_SOURCE)
        root = name.rstrip("/") + "/"
        for folder, _, names in system.walk(name):
            for leaf in sorted(names):
                if not leaf.startswith(".") and suffix(leaf) in MEDIA_SUFFIXES - set(SUBTITLE_SUFFIXES):
                    path = f"{folder.rstrip('/')}/{leaf}"
                    yield CatalogueItem(
                        media_id=path.removeprefix(root), uri=str(system.unstrip_protocol(path))
                    )
    except CatalogueError:
        raise
    except Exception as error:  # every store's library has errors of its own
        raise CatalogueError(source, f"{type(error).__name__}: {error}", EXPECTED_SOURCE) from error


def _globbed(source: str) -> Iterator[CatalogueItem | FaultyRow]:
    found = False
    try:
        if local_path(source) is not None:
            names = iter(sorted(glob.glob(str(local_path(source)), recursive=True)))
        else:
            system, pattern = fsspec.core.url_to_fs(source)
            names = (str(system.unstrip_protocol(name)) for name in sorted(system.glob(pattern)))
    except Exception as error:  # every store's library has errors of its own
        raise CatalogueError(source, f"{type(error).__name__}: {error}", EXPECTED_SOURCE) from error
    for name in names:
        ending = suffix(name)
        path = local_path(name)
        if ending in SUBTITLE_SUFFIXES and (path is None or _has_media_beside(path)):
            continue
        if ending in MANIFEST_SUFFIXES:
            found = True
            yield from read_manifest(name)
        elif ending in MEDIA_SUFFIXES:
            found = True
            yield CatalogueItem(media_id=name, uri=name)
    if not found:
        raise CatalogueError(source, "no media of such a name", EXPECTED_SOURCE)
