"""Titles of folders and globs, here or in a store: which files are titles, and which belong to one."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.utils import glob_translate

from resonance.clients.errors import NotMediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.file_systems import asked, file_system
from resonance.clients.ingest.manifest import FaultyRow, checked
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES, SidecarName, sidecar_name
from resonance.clients.media.text import TEXT_SUFFIXES

#: Endings of video and sound, beside which subtitles belong to it.
_TIMED_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob"),
        *(".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".f4v", ".divx", ".rm", ".rmvb", ".ivf"),
        *(".mp3", ".m4a", ".aac", ".wav", ".flac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".ac3"),
        *(".eac3", ".dts", ".amr", ".mka", ".caf", ".au", ".wv", ".tta", ".ape", ".w64"),
    )
)
_PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ico")
)
#: Files of a folder that are taken for titles. A file that is named is taken whatever its ending.
MEDIA_SUFFIXES = _TIMED_SUFFIXES | _PICTURE_SUFFIXES | {*TEXT_SUFFIXES, *SUBTITLE_SUFFIXES}
#: Folders that are never looked into: hidden ones, and what a job keeps beside its rows.
_LEFT_OUT = (".", "_resonance")
EXPECTED_SOURCE = "a file, a folder, a glob or a manifest"

Given = CatalogueItem | FaultyRow


def folder_item(path: Path, folder: Path) -> Given | None:
    """A file of a folder, or of one below it, as a title; None where it is none."""
    inside = path.relative_to(folder)
    if _is_left_out(inside.parts) or not _may_be_title(path.name):
        return None
    if path.suffix.lower() in SUBTITLE_SUFFIXES and _is_owned(path):
        return None
    if not _is_there_or_broken(path):
        return None
    return checked(str(path), CatalogueItem(media_id=inside.as_posix(), uri=os.path.join(folder, inside)))


def local_folder(folder: Path) -> Iterator[Given]:
    """The titles in a folder of this machine and below it, each folder's in order of their names.

    Links to folders are not followed. A folder that cannot be read is handed out as a faulty row.
    """
    unread: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unread.append):
        folders[:] = sorted(name for name in folders if not name.startswith(_LEFT_OUT))
        for name in _titles(names):
            path = Path(parent, name)
            if _is_there_or_broken(path):
                inside = path.relative_to(folder).as_posix()
                yield checked(str(path), CatalogueItem(media_id=inside, uri=os.path.join(parent, name)))
        yield from _told(unread)
    yield from _told(unread)


def remote_folder(uri: str) -> Iterator[Given]:
    """The titles below a prefix of a store. Subtitles that are found beside a title are named with it.

    A folder that may not be listed is handed out as a faulty row.

    Raises:
        CatalogueError: the prefix itself may not be listed. Others: see `file_systems.asked`.
    """
    system, root = asked(uri, lambda: file_system(uri))
    start = root.rstrip("/") + "/"
    yield from _listed(uri, system, root, lambda path: True, lambda path, uri: path.removeprefix(start))


def local_glob(pattern: Path) -> Iterator[Given]:
    """The titles that a pattern fits, as a shell reads it, and ``**`` as any folders."""
    fixed = next((at for at, part in enumerate(pattern.parts) if is_pattern(part)), len(pattern.parts))
    for name in glob.iglob(str(pattern), recursive=True):
        path = Path(name)
        if _is_left_out(path.parts[fixed:]):
            continue
        if not _may_be_title(path.name) or not _is_there_or_broken(path):
            continue
        if path.suffix.lower() in SUBTITLE_SUFFIXES and _is_owned(path):
            continue
        yield checked(name, CatalogueItem(media_id=name, uri=name))


def remote_glob(pattern: str) -> Iterator[Given]:
    """The titles of a store that a pattern fits. See `remote_folder`."""
    system, name = asked(pattern, lambda: file_system(pattern))
    parts = name.split("/")
    fixed = next(at for at, part in enumerate(parts) if is_pattern(part))
    fits = re.compile(glob_translate(name))
    yield from _listed(
        pattern,
        system,
        "/".join(parts[:fixed]),
        lambda path: fits.match(path) is not None,
        lambda path, uri: uri,
        depth=None if "**" in parts else len(parts) - fixed,
    )


def _is_left_out(parts: Sequence[str]) -> bool:
    """Whether a file of these folders and this name is hidden, or stands in a folder that is left out."""
    hidden = any(part.startswith(".") for part in parts)
    return hidden or any(part.startswith(_LEFT_OUT) for part in parts[:-1])


def is_pattern(text: str) -> bool:
    """Whether it has a character that patterns are made with."""
    return not set("*?[").isdisjoint(text)


def _listed(
    source: str,
    system: Any,
    root: str,
    wanted: Callable[[str], bool],
    media_id: Callable[[str, str], str],
    *,
    depth: int | None = None,
) -> Iterator[Given]:
    """fsspec's own `walk` leaves out, without a word, a folder below the first that is not answered for."""
    waiting = [(root.rstrip("/"), 1)]
    while waiting:
        folder, level = waiting.pop()
        try:
            listing = asked(source, partial(system.ls, folder, detail=True))
        except NotMediaError as error:  # no leave, or gone meanwhile
            if level == 1:
                raise CatalogueError(source, error.came, EXPECTED_SOURCE) from error
            yield _unread(str(system.unstrip_protocol(folder)), error.came)
            continue
        inside = ((info["name"].rstrip("/"), info["type"]) for info in listing)
        # an object of a folder's own name marks that it is there
        entries = {path.rpartition("/")[2]: kind for path, kind in inside if path != folder}
        names = [name for name, kind in entries.items() if kind != "directory"]
        if depth is None or level < depth:
            below = sorted(entries.keys() - set(names), reverse=True)
            waiting += [(f"{folder}/{name}", level + 1) for name in below if not name.startswith(_LEFT_OUT)]
        beside = _subtitles(names)
        for name in _titles(names):
            path = f"{folder}/{name}"
            if wanted(path):
                uri = str(system.unstrip_protocol(path))
                words = beside.get(_stem(name)) if _suffix(name) in _TIMED_SUFFIXES else None
                item = CatalogueItem(
                    media_id=media_id(path, uri),
                    uri=uri,
                    transcript_uri=f"{uri[: -len(name)]}{words}" if words is not None else None,
                )
                yield checked(uri, item)


def _told(unread: list[OSError]) -> Iterator[FaultyRow]:
    while unread:
        error = unread.pop(0)
        yield _unread(str(error.filename), error.strerror or str(error))


def _unread(folder: str, came: str) -> FaultyRow:
    where = folder.encode("utf-8", "backslashreplace").decode()
    return FaultyRow(
        where, CatalogueError(where, f"a folder that cannot be read ({came})", "leave to list it")
    )


def _may_be_title(name: str) -> bool:
    return not name.startswith(".") and _suffix(name) in MEDIA_SUFFIXES


def _is_there_or_broken(path: Path) -> bool:
    """A regular file, or one that cannot even be looked at, which whoever opens it will tell."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return path.is_symlink()


def _titles(names: Collection[str]) -> Iterator[str]:
    """Those of a folder's files that are titles, in order."""
    timed = _timed_stems(names)
    for name in sorted(names):
        if _may_be_title(name) and _owned_by(name, timed) is None:
            yield name


def _subtitles(names: Collection[str]) -> dict[str, str]:
    """The subtitle file that is the transcript of each stem that has one."""
    timed = _timed_stems(names)
    found: dict[str, SidecarName] = {}
    for name in names:
        if (owned := _owned_by(name, timed)) is not None:
            stem, sidecar = owned
            found[stem] = min(found.get(stem, sidecar), sidecar)
    return {stem: sidecar.name for stem, sidecar in found.items() if not sidecar.forced}


def _timed_stems(names: Collection[str]) -> set[str]:
    return {_stem(name) for name in names if _suffix(name) in _TIMED_SUFFIXES}


def _owned_by(name: str, timed: Collection[str]) -> tuple[str, SidecarName] | None:
    """The stem of the media that a subtitle file belongs to, the longest one: film.srt to film.mp4."""
    stem = _stem(name)
    while stem:
        if stem in timed and (sidecar := sidecar_name(name, stem)) is not None:
            return stem, sidecar
        stem = stem.rpartition(".")[0]
    return None


def _is_owned(subtitles: Path) -> bool:
    try:
        names = os.listdir(subtitles.parent)
    except OSError:
        return False
    return _owned_by(subtitles.name, _timed_stems(names)) is not None


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
