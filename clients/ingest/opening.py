"""Opening media wherever it is: this machine's files by path, others through fsspec, in ranges.

Nothing is copied whole: of a file elsewhere at most `READ_AHEAD_BYTES` and `CACHED_BLOCKS` blocks are held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

import fsspec

from resonance.clients.errors import NotMediaError, ResonanceError, ServerUnavailableError
from resonance.clients.ingest.uris import local_path
from resonance.clients.media.words import SUBTITLE_SUFFIXES, SubtitleFile, find_sidecar

T = TypeVar("T")

#: A block of a file elsewhere. Demuxers read forward, and once at the end for an index there.
BLOCK_BYTES = 4 << 20
CACHED_BLOCKS = 4
#: Read at once for a hash.
_HASH_CHUNK_BYTES = 1 << 20
#: What file systems say of what they did not hash, in the order in which it is believed.
_VERSIONS = ("ETag", "etag", "md5Hash", "md5", "checksum", "generation", "VersionId")
#: Subtitles that go with a film are small.
_MAX_SUBTITLE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a file that did not change is known without reading it. `version` None: by nothing."""

    size_bytes: int
    version: str | None


def open_uri(uri: str) -> BinaryIO:
    """A seekable file, read in ranges. Blocks.

    Raises:
        NotMediaError: it is not there, or may not be read. ServerUnavailableError: the store does not answer.
    """

    def opened() -> BinaryIO:
        path = local_path(uri)
        if path is not None:
            return path.open("rb")
        system, name = fsspec.core.url_to_fs(uri)
        options: dict[str, Any] = {"cache_options": {"maxblocks": CACHED_BLOCKS}}
        return cast(
            BinaryIO,
            system.open(name, "rb", block_size=BLOCK_BYTES, cache_type="background", **options),
        )

    return _asked(uri, opened)


def identity(uri: str, transcript_uri: str | None = None) -> Identity:
    """What can be told of media and transcript without reading them. Blocks. Errors: see `open_uri`."""
    size_bytes, version = _asked(uri, lambda: _stat(uri))
    parts = [version]
    words = _transcript(uri, transcript_uri)
    if words is not None:
        parts.append(_asked(words, lambda: _stat(words))[1])
    return Identity(size_bytes, None if None in parts else " ".join(cast(list[str], parts)))


def content_hash(uri: str, transcript_uri: str | None = None) -> str:
    """Of the bytes of media and transcript; of a store's object, what the store says of them. Blocks.

    ``blake2b:...``, or ``etag:...`` and the like, which is not told apart from a change of the bytes only
    where the store changes it without one. Errors: see `open_uri`.
    """
    parts = [_hash(uri)]
    words = _transcript(uri, transcript_uri)
    if words is not None:
        parts.append(_hash(words))
    return "+".join(parts)


def read_subtitles(uri: str) -> SubtitleFile:
    """A subtitle file from anywhere. Blocks. Errors: see `open_uri`."""

    def read() -> bytes:
        with open_uri(uri) as file:
            return file.read(_MAX_SUBTITLE_BYTES + 1)

    suffix = next((s for s in SUBTITLE_SUFFIXES if uri.lower().endswith(s)), None)
    if suffix is None:
        raise NotMediaError(uri, "a transcript of another kind", " or ".join(SUBTITLE_SUFFIXES))
    return SubtitleFile(suffix.lstrip("."), _asked(uri, read), uri)


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
    system, name = fsspec.core.url_to_fs(uri)
    info = system.info(name)
    size_bytes = int(info.get("size") or 0)
    for key in _VERSIONS:
        if info.get(key):
            said = str(info[key]).strip('"')
            return size_bytes, f"{key.lower()}:{said}-{size_bytes}"
    return size_bytes, None


def _hash(uri: str) -> str:
    if local_path(uri) is None:
        _, version = _asked(uri, lambda: _stat(uri))
        if version is not None:
            return version

    def hashed() -> str:
        digest = hashlib.blake2b(digest_size=16)
        with open_uri(uri) as file:
            while chunk := file.read(_HASH_CHUNK_BYTES):
                digest.update(chunk)
        return f"blake2b:{digest.hexdigest()}"

    return _asked(uri, hashed)


def _asked(uri: str, ask: Callable[[], T]) -> T:
    """`ask`, with the errors of all file systems made two kinds: the file's own, and the store's."""
    try:
        return ask()
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        came = f"it cannot be opened ({error.strerror or type(error).__name__})"
        raise NotMediaError(uri, came, "a file that can be read") from error
    except (ImportError, ValueError) as error:  # no such scheme, or its package is not installed
        raise NotMediaError(uri, str(error), "a path or a URI that fsspec opens") from error
    except ResonanceError:
        raise
    except Exception as error:  # every store's library has errors of its own
        if local_path(uri) is None:
            raise ServerUnavailableError(f"{uri}: {type(error).__name__}: {error}") from error
        if not isinstance(error, OSError):
            raise
        came = f"it cannot be read ({error.strerror or error})"
        raise NotMediaError(uri, came, "a file that can be read") from error
