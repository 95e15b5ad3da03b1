"""Files that a command writes: whether one can be there, looked at before the work, and none that is half."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.clients.errors import UsageError
from resonance.clients.paths import is_file, is_folder

#: What a store of Parquet reads in its folder.
_PART = re.compile(r"part-.*\.parquet")


#: What a folder refuses a new file with, or its taking another's place, where the file itself may be
#: written to: as one that is mounted into a container by itself.
_IN_PLACE_ALONE = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)


#: What a file is written under, and how long ago it was last written to where its writer may be gone: one
#: that has just been made is not held yet.
_HALF = re.compile(r"\.half-[0-9a-f]{32}")
_LEFT_AFTER_S = 3600.0
_looked_through: set[Path] = set()  # folders, once a process: one of a cache has many files


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what is to be at `path`: all of it is there in the end, or else what was there before.

    It keeps owner, group and rights that `path` has. What is no regular file, such as a pipe, is written
    itself. A file is, too, whose folder takes no other, or whose owner or group none can be given: once all
    of it stands elsewhere, beside it or in the system's temporary folder. Where that copy breaks off, what
    stands there is kept, and the error says where. What writers that were killed left beside `path` an hour
    ago or more is removed.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():  # nor resolved: of a pipe in /proc the link leads nowhere
        yield path
        return
    try:
        path = path.resolve()  # a link stays one
    except RuntimeError as error:  # of Python before 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    _remove_left(path.parent)
    half = path.with_name(f".half-{uuid.uuid4().hex}")
    try:
        takes_its_place = _begin(half, path)
    except OSError as error:
        if error.errno not in _IN_PLACE_ALONE or not path.exists():
            raise
        half, takes_its_place = _begin_elsewhere(path), False
    try:
        with _held(half):
            yield half
        with half.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            if takes_its_place:
                os.replace(half, path)
        except OSError as error:
            if error.errno not in _IN_PLACE_ALONE:
                raise
            takes_its_place = False
        if not takes_its_place:
            _copy_into(half, path)
    finally:
        half.unlink(missing_ok=True)


def _begin(half: Path, path: Path) -> bool:
    """Make an empty file that only those may read who may read `path`; whether it can take its place."""
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if not path.exists():
            return True
        there = path.stat()
        with contextlib.suppress(OSError):  # only root gives files away, and nobody to a group of others
            os.fchown(descriptor, there.st_uid, there.st_gid)
        here = os.fstat(descriptor)
        is_alike = (here.st_uid, here.st_gid) == (there.st_uid, there.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(there.st_mode) if is_alike else 0o600)
        return is_alike
    except BaseException:  # of mounts that know no rights
        half.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def _held(half: Path) -> Iterator[None]:
    """Lock it, as long as this process lives."""
    descriptor = os.open(half, os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # of file systems that know no locks: there nothing is removed
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_left(folder: Path) -> None:
    """Remove half files that nobody holds any more."""
    if folder in _looked_through:
        return
    _looked_through.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        for entry in there:
            if _HALF.fullmatch(entry.name):
                _remove_unheld(entry)


def _remove_unheld(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(OSError):  # held, another user's, or another was faster
        if time.time() - entry.stat(follow_symlinks=False).st_mtime < _LEFT_AFTER_S:
            return
        descriptor = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(entry.path)
        finally:
            os.close(descriptor)


def _begin_elsewhere(path: Path) -> Path:
    """The same in the system's temporary folder, for this user alone."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="resonance-")
    except OSError as error:
        said = f"its folder takes no other file, nor does the temporary one: {error.strerror}; set TMPDIR"
        raise OSError(error.errno, said, str(path)) from error
    os.close(descriptor)
    return Path(name)


def _copy_into(half: Path, path: Path) -> None:
    """Write what `half` holds into the file at `path` itself; that stays as it was where there is no room."""
    with half.open("rb") as new, path.open("rb+") as file:
        size, before = os.fstat(new.fileno()).st_size, os.fstat(file.fileno()).st_size
        if size > before:
            try:
                os.posix_fallocate(file.fileno(), before, size - before)
            except OSError:
                file.truncate(before)  # some of it may have been given
                raise
        try:
            shutil.copyfileobj(new, file)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        except BaseException as error:  # neither is whole: what was there before is gone in part
            kept = half.rename(half.with_name(f"{path.name}.{half.name.removeprefix('.half-')}"))
            if not isinstance(error, OSError):
                raise
            said = f"{error.strerror}; all of it stands in {kept}"
            raise OSError(error.errno, said, str(path)) from error


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
        UsageError: it is a folder, its folder is not there or may not be searched, its name is too long, or
            it may not be written.
    """
    told = f"{named} {path}".lstrip()
    try:
        is_folder, has_folder, is_there = path.is_dir(), path.parent.is_dir(), path.exists()
        if path.is_symlink() and not is_there:
            with contextlib.suppress(FileNotFoundError):
                path.stat()  # of a link to itself it says so
    except OSError as error:
        raise UsageError(f"{told}: no file can be there ({error.strerror}); expected another path") from error
    if is_folder:
        raise UsageError(f"{told} is a folder; expected a file, new or to be replaced")
    if not has_folder:
        raise UsageError(f"{told}: its folder is not there; expected one that is")
    place = path if is_there else Path(os.path.realpath(path)).parent  # of a link, where it leads
    if not os.access(place, os.W_OK if is_there else os.W_OK | os.X_OK):
        raise UsageError(f"{told}: nothing may be written there; expected a path where it may")
    if path.is_file() and not os.access(Path(os.path.realpath(path)).parent, os.W_OK | os.X_OK):
        try:
            tempfile.gettempdir()
        except FileNotFoundError as error:
            came = "neither its folder nor the temporary one takes another file"
            raise UsageError(f"{told}: {came}; set TMPDIR to a folder that does") from error


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
