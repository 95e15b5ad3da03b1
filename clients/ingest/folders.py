"""Titles of folders and globs, here or in a store: which files are titles, and which belong to one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.utils import glob_translate

from resonance.clients.errors import NotMediaError
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.file_systems import asked, file_system
from resonance.clients.ingest.manifest import FaultyRow, checked
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.walk import ANY_DEPTH, LEFT_OUT, Unlisted, fixed_parts, list_folder, walk
from resonance.clients.media.sidecars import PICTURE_SUFFIXES, SUBTITLE_SUFFIXES, SidecarName, sidecar_name
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
#: Files of a folder that are taken for titles. A file that is named is taken whatever its ending.
MEDIA_SUFFIXES = _TIMED_SUFFIXES | {*PICTURE_SUFFIXES, *TEXT_SUFFIXES, *SUBTITLE_SUFFIXES}
EXPECTED_SOURCE = "a file, a folder, a glob or a manifest"

Given = CatalogueItem | FaultyRow


class FolderTitles:
    """Which files in a folder, or below it, are titles, asked of some and not of all.

    Each folder is listed once, so have a new one when some time has passed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._media: dict[Path, dict[str, list[str]]] = {}

    def item(self, path: Path) -> Given | None:
        """A file as a title; None where it is none."""
        if not self._is_looked_into(path.parent) or not _may_be_title(path.name):
            return None
        if path.suffix.lower() in SUBTITLE_SUFFIXES and _owned_by(path.name, self._media_in(path.parent)):
            return None
        return _local_item(str(path), self._folder) if _is_there_or_broken(path) else None

    def below(self, folder: Path) -> Iterator[Given]:
        """All titles of a folder that is in the folder. See `local_folder`."""
        if self._is_looked_into(folder):
            yield from _below(folder, self._folder)

    def media_of(self, subtitles: Path) -> list[Path]:
        """The media that a file of subtitles, which need not be there any more, is beside."""
        media = self._media_in(subtitles.parent)
        stems = [stem for stem, _ in _owners(subtitles.name, media)]
        return [subtitles.with_name(name) for stem in stems for name in media[stem]]

    def _is_looked_into(self, folder: Path) -> bool:
        if not folder.is_relative_to(self._folder):  # that of the watched folder itself
            return False
        parts = folder.relative_to(self._folder).parts
        if any(part.startswith(LEFT_OUT) for part in parts):
            return False
        return not any(os.path.islink(self._folder.joinpath(*parts[: n + 1])) for n in range(len(parts)))

    def _media_in(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._media:
            try:
                self._media[folder] = _media_by_stem(list_folder(str(folder))[1])
            except OSError:
                self._media[folder] = {}
        return self._media[folder]


def local_folder(folder: Path) -> Iterator[Given]:
    """The titles in a folder of this machine and below it, each folder's in order of their names.

    Links to folders are not followed. A folder that cannot be read is handed out as a faulty row.
    """
    yield from _below(folder, folder)


def files_below(folder: Path) -> Iterator[str]:
    """Files in a folder of this machine and below it that are titles or may belong to one.

    What cannot be read is left out.
    """
    for found in walk(str(folder), [ANY_DEPTH]):
        if not isinstance(found, Unlisted):
            yield from (os.path.join(found.folder, name) for name in found.names if _may_be_title(name))


def local_glob(pattern: Path) -> Iterator[Given]:
    """The titles that a pattern fits, as a shell reads it, and ``**`` as any folders.

    Links to folders are followed only where the pattern names them. See `local_folder`.
    """
    fixed = fixed_parts(pattern.parts)
    root = os.path.join("", *pattern.parts[:fixed])
    if not os.path.isdir(root or "."):
        return
    for found in _titles_below(root, pattern.parts[fixed:]):
        if isinstance(found, str):
            yield checked(found, CatalogueItem(media_id=found, uri=found))
        else:
            yield found


def remote_folder(uri: str) -> Iterator[Given]:
    """The titles below a prefix of a store. Subtitles that are found beside a title are named with it.

    A folder that may not be listed is handed out as a faulty row.

    Raises:
        CatalogueError: the prefix itself may not be listed. Others: see `file_systems.asked`.
    """
    system, root = asked(uri, lambda: file_system(uri))
    start = root.rstrip("/") + "/"
    yield from _listed(uri, system, root, lambda path: True, lambda path, uri: path.removeprefix(start))


def remote_glob(pattern: str) -> Iterator[Given]:
    """The titles of a store that a pattern fits. See `remote_folder`."""
    system, name = asked(pattern, lambda: file_system(pattern))
    parts = name.split("/")
    fixed = fixed_parts(parts)
    fits = re.compile(glob_translate(name))
    yield from _listed(
        pattern,
        system,
        "/".join(parts[:fixed]),
        lambda path: fits.match(path) is not None,
        lambda path, uri: uri,
        depth=None if "**" in parts else len(parts) - fixed,
    )


def _below(folder: Path, named_from: Path) -> Iterator[Given]:
    for found in _titles_below(str(folder), [ANY_DEPTH]):
        yield _local_item(found, named_from) if isinstance(found, str) else found


def _local_item(name: str, named_from: Path) -> Given:
    path = Path(name)
    return checked(str(path), CatalogueItem(media_id=path.relative_to(named_from).as_posix(), uri=name))


def _titles_below(root: str, parts: Sequence[str]) -> Iterator[str | FaultyRow]:
    """The names of the titles that a pattern fits, whose `parts` begin in `root`."""
    for found in walk(root, parts):
        if isinstance(found, Unlisted):
            yield _unread(found.folder or ".", found.error.strerror or str(found.error))
            continue
        for name in _titles(found.names):
            path = os.path.join(found.folder, name)
            if found.fits.match(name) and _is_there_or_broken(path):
                yield path


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
            waiting += [(f"{folder}/{name}", level + 1) for name in below if not name.startswith(LEFT_OUT)]
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


def _unread(folder: str, came: str) -> FaultyRow:
    where = folder.encode("utf-8", "backslashreplace").decode()
    return FaultyRow(
        where, CatalogueError(where, f"a folder that cannot be read ({came})", "leave to list it")
    )


def _may_be_title(name: str) -> bool:
    return not name.startswith(".") and _suffix(name) in MEDIA_SUFFIXES


def _is_there_or_broken(path: str | Path) -> bool:
    """A regular file, or one that cannot even be looked at, which whoever opens it will tell."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.islink(path)
    except OSError:
        return True


def _titles(names: Collection[str]) -> Iterator[str]:
    """Those of a folder's files that are titles, in order."""
    media = _media_by_stem(names)
    for name in sorted(names):
        if _may_be_title(name) and _owned_by(name, media) is None:
            yield name


def _subtitles(names: Collection[str]) -> dict[str, str]:
    """The subtitle file that is the transcript of each stem that has one."""
    media = _media_by_stem(names)
    found: dict[str, SidecarName] = {}
    for name in names:
        if (owned := _owned_by(name, media)) is not None:
            stem, sidecar = owned
            found[stem] = min(found.get(stem, sidecar), sidecar)
    return {stem: sidecar.name for stem, sidecar in found.items() if not sidecar.forced}


def _media_by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """Of a folder's files those beside which subtitles belong to them."""
    media: dict[str, list[str]] = {}
    for name in names:
        if _suffix(name) in _TIMED_SUFFIXES:
            media.setdefault(_stem(name), []).append(name)
    return media


def _owned_by(name: str, stems: Container[str]) -> tuple[str, SidecarName] | None:
    """The stem of the media that a subtitle file belongs to, the longest one: film.srt to film.mp4."""
    return next(_owners(name, stems), None)


def _owners(name: str, stems: Container[str]) -> Iterator[tuple[str, SidecarName]]:
    stem = _stem(name)
    while stem:
        if stem in stems and (sidecar := sidecar_name(name, stem)) is not None:
            yield stem, sidecar
        stem = stem.rpartition(".")[0]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
