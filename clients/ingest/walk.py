"""The folders of this machine whose files a pattern may fit, one at a time."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: The part of a pattern that stands for any number of folders, and at its end for any file below.
ANY_DEPTH = "**"
#: Folders that are never looked into: hidden ones, and what a job keeps beside its rows.
LEFT_OUT = (".", "_resonance")


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder and the names in it that are no folders; `fits` matches those that are wanted."""

    folder: str
    names: list[str]
    fits: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A folder that cannot be listed."""

    folder: str
    error: OSError


def is_pattern(text: str) -> bool:
    """Whether it has a character that patterns are made with."""
    return not set("*?[").isdisjoint(text)


def fixed_parts(parts: Sequence[str]) -> int:
    """How many parts of a path or URI stand before the first that is a pattern; all where none is."""
    return next((at for at, part in enumerate(parts) if is_pattern(part)), len(parts))


def walk(root: str, parts: Sequence[str]) -> Iterator[Listing | Unlisted]:
    """The folders from `root` down, "" the working one, whose files the `parts` of a pattern may fit.

    Each comes once and before those in it, which are in order of their names. `LEFT_OUT` are not looked
    into. Links to folders are followed only where a part is their name, so no ring of them is walked.
    A folder that a part names need not be there. Blocks.
    """
    fits = [re.compile(fnmatch.translate(part)) for part in parts]
    last = len(parts) - 1
    waiting = [(root, {0}, False)]  # which parts the names in a folder may fit, and whether one named it
    while waiting:
        folder, reached, is_named = waiting.pop()
        at = _with_no_folder(reached, parts)
        (first, *others) = sorted(at)
        if not others and first < last and not is_pattern(parts[first]):  # no leave to list is needed
            if not parts[first].startswith(LEFT_OUT):
                waiting.append((os.path.join(folder, parts[first]), {first + 1}, True))
            continue
        try:
            folders, names = list_folder(folder)
        except OSError as error:
            if not (is_named and isinstance(error, FileNotFoundError | NotADirectoryError)):
                yield Unlisted(folder, error)
            continue
        if last in at:
            yield Listing(folder, names, fits[last])
        for name in sorted(folders, reverse=True):
            below = {n + 1 for n in at if n < last and parts[n] == name}
            if not folders[name]:
                below |= {n + 1 for n in at if n < last and fits[n].match(name)}
                below |= {n for n in at if parts[n] == ANY_DEPTH}
            if below and not name.startswith(LEFT_OUT):
                waiting.append((os.path.join(folder, name), below, False))


def list_folder(folder: str) -> tuple[dict[str, bool], list[str]]:
    """The folders in one, each with whether it is a link, and the other names.

    Raises:
        OSError: it cannot be listed.
    """
    folders: dict[str, bool] = {}
    names: list[str] = []
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            try:
                if entry.is_dir():
                    folders[entry.name] = entry.is_symlink()
                    continue
            except OSError:  # whoever opens it will tell
                pass
            names.append(entry.name)
    return folders, names


def _with_no_folder(reached: set[int], parts: Sequence[str]) -> set[int]:
    """Those that are reached and what follows them where ``**`` stands for no folder."""
    at = set(reached)
    for n in reached:
        while n < len(parts) - 1 and parts[n] == ANY_DEPTH:
            n += 1
            at.add(n)
    return at
