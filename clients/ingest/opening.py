"""Opening media wherever it is: this machine's files by path, others through fsspec, in ranges.

Nothing is copied whole: of a file elsewhere `CACHED_BLOCKS` blocks are held, and one that is read ahead.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from resonance.clients.errors import NotMediaError, TranscriptError
from resonance.clients.ingest.file_systems import EXPECTED_FILE, asked, file_system
from resonance.clients.ingest.uris import local_path, suffix
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES, find_sidecar
from resonance.clients.media.words import EXPECTED_SUBTITLES, MAX_SUBTITLE_BYTES, SubtitleFile

#: A block of a file elsewhere. Demuxers read forward, each stream a little behind or before the others, and
#: once at the end for an index there: docs/ingest-sources.md has what that transfers.
BLOCK_BYTES = 2 << 20
CACHED_BLOCKS = 12
#: What is handed out at once of a block; lines of a manifest and small elements of a container are many.
_BUFFER_BYTES = 256 << 10
#: Read at once for a hash.
_HASH_CHUNK_BYTES = 1 << 20
#: What file systems say of contents that they did not read, in the order in which it is believed: hashes of
#: the bytes first, for Google's etag also changes with the metadata.
_VERSIONS = ("md5Hash", "ETag", "etag", "generation")


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a file that did not change is known without reading it. `version` None: by nothing."""

    size_bytes: int
    version: str | None


def open_uri(uri: str) -> BinaryIO:
    """A seekable file, read in ranges. Blocks; so do its reads, which raise the same errors.

    Raises:
        NotMediaError: it is not there, may not be read, or the store does not hand out ranges.
        ServerError, UsageError: see `resonance.clients.ingest.file_systems`.
    """
    path = local_path(uri)
    if path is not None:
        return asked(uri, lambda: _open_local(uri, path))

    def opened() -> Any:
        system, name = file_system(uri)
        return system.open(
            name,
            "rb",
            block_size=BLOCK_BYTES,
            cache_type="background",
            cache_options={"maxblocks": CACHED_BLOCKS},
        )

    file = asked(uri, opened)
    try:
        file.seek(0, io.SEEK_END)
        file.seek(0)
    except (OSError, ValueError) as error:  # fsspec calls streams seekable, too
        file.close()
        raise NotMediaError(uri, "a server that sends files whole", "one that answers ranges") from error
    return cast(BinaryIO, io.BufferedReader(_StoreFile(uri, file), _BUFFER_BYTES))


def identity(uri: str, transcript_uri: str | None = None) -> Identity:
    """What can be told of media and transcript without reading them. Blocks. Errors: see `open_uri`."""
    size_bytes, version = asked(uri, lambda: _stat(uri))
    parts = [version]
    words = _transcript(uri, transcript_uri)
    if words is not None:
        parts.append(asked(words, lambda: _stat(words))[1])
    return Identity(size_bytes, None if None in parts else " ".join(cast(list[str], parts)))


def content_hash(uri: str, transcript_uri: str | None = None) -> str:
    """Of the bytes of media and transcript; of a store's object, what the store says of them. Blocks.

    ``blake2b:...``, or ``etag:...`` and the like where the store has one, so that nothing need be read. The
    same bytes may have another ``etag:`` after they were stored again. Errors: see `open_uri`.
    """
    parts = [_hash(uri)]
    words = _transcript(uri, transcript_uri)
    if words is not None:
        parts.append(_hash(words))
    return "+".join(parts)


def read_subtitles(uri: str) -> SubtitleFile:
    """A subtitle file from anywhere. Blocks.

    Raises:
        TranscriptError: its name does not end as one's. Others: see `open_uri`.
    """
    ending = suffix(uri)
    if ending not in SUBTITLE_SUFFIXES:
        raise TranscriptError(uri, "a transcript of another kind", EXPECTED_SUBTITLES)
    with open_uri(uri) as file:
        data = asked(uri, lambda: file.read(MAX_SUBTITLE_BYTES + 1))
    return SubtitleFile(ending.lstrip("."), data, uri)


class _StoreFile(io.RawIOBase):
    """A file of a store whose errors are ours, so that a broken connection is not taken for broken media."""

    def __init__(self, uri: str, file: Any) -> None:
        self.name, self._file = uri, file
        self._lock = threading.Lock()  # a reader that was given up may still be inside

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        with self._lock:
            data = asked(self.name, lambda: self._file.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with self._lock:
                cache = getattr(self._file, "cache", None)
                self._file.close()
                if cache is not None and hasattr(cache, "close"):
                    cache.close()  # fsspec leaves it to the garbage collector, with its thread and blocks
        super().close()


def _open_local(uri: str, path: Path) -> BinaryIO:
    # without waiting: opening a pipe that nobody writes to would never end
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            came = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
            raise NotMediaError(uri, came, EXPECTED_FILE)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _transcript(uri: str, given: str | None) -> str | None:
    if given is not None:
        return given
    path = local_path(uri)
    found = find_sidecar(path) if path is not None else None
    return str(found) if found is not None else None


def _stat(uri: str) -> tuple[int, str | None]:
    path = local_path(uri)
    if path is not None:
        found = path.stat()
        return found.st_size, f"stat:{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"
    system, name = file_system(uri)
    info = system.info(name)
    if info.get("type") == "directory":
        raise NotMediaError(uri, "a folder", EXPECTED_FILE)
    size_bytes = int(info.get("size") or 0)
    for key in _VERSIONS:
        if info.get(key):
            said = str(info[key]).strip('"')
            return size_bytes, f"{key.lower()}:{said}-{size_bytes}"
    return size_bytes, None


def _hash(uri: str) -> str:
    if local_path(uri) is None:
        _, version = asked(uri, lambda: _stat(uri))
        if version is not None:
            return version

    def hashed() -> str:
        digest = hashlib.blake2b(digest_size=16)
        with open_uri(uri) as file:
            while chunk := file.read(_HASH_CHUNK_BYTES):
                digest.update(chunk)
        return f"blake2b:{digest.hexdigest()}"

    return asked(uri, hashed)
