"""Files that a command writes: whether one can be there, looked at before the work, and none that is half."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.clients.errors import UsageError
from resonance.clients.paths import is_file, is_folder

#: What a store of Parquet reads in its folder.
_PART = re.compile(r"part-.*\.parquet")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what is to be at `path`: all of it is there in the end, or else what was there before.

    What is no regular file, such as a pipe, is written itself.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()  # a link stays one
    half = path.with_name(f".half-{uuid.uuid4().hex}")
    try:
        yield half
        with half.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def check_ending(path: Path, named: str, *endings: str) -> None:
    """Refuse an ending that says that something else than what is written is in the file.

    Args:
        named: the option it was given by, for the error.

    Raises:
        UsageError: it is none of `endings`.
    """
    if path.suffix not in endings:
        raise UsageError(f"{named} {path}: ending '{path.suffix}'; expected {' or '.join(endings)}")


def check_new_file(path: Path, named: str = "") -> None:
    """Refuse a path where no file can be.

    Args:
        named: the option it was given by, for the error.

    Raises:
        UsageError: it is a folder, its folder is not there or may not be searched, or its name is too long.
    """
    told = f"{named} {path}".lstrip()
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise UsageError(f"{told}: no file can be there ({error.strerror}); expected another path") from error
    if is_folder:
        raise UsageError(f"{told} is a folder; expected a file, new or to be replaced")
    if not has_folder:
        raise UsageError(f"{told}: its folder is not there; expected one that is")


def check_no_input(path: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse a path that is one of the files that the command reads, or that a store would take for a part.

    Args:
        inputs: files, and folders of stores.

    Raises:
        UsageError: it is.
    """
    for one in inputs:
        if one is None:
            continue
        if is_file(path) and is_file(one) and path.samefile(one):
            raise UsageError(
                f"{path}: it would take the place of what is read from it; expected another path"
            )
        is_part = _PART.fullmatch(path.name) and is_folder(path.parent) and is_folder(one)
        if is_part and path.parent.samefile(one):
            raise UsageError(f"{path}: it would be a part of the store {one}; expected another path")


def check_own_json(path: Path, fields: Iterable[str], kind: str) -> None:
    """Refuse to write JSON where another file is: nobody named this path, it follows from another's name.

    Args:
        fields: those of an object of the kind that is to be written. kind: what that is, for the error.

    Raises:
        UsageError: a file is there that is no object with these fields.
    """
    if not is_file(path):
        return
    try:
        there = json.loads(path.read_bytes())
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict) or not set(fields) <= set(there):
        raise UsageError(
            f"{path}: a file that is no {kind}, which would take its place; move it, or give another name"
        )
