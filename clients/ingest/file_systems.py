"""fsspec's file systems: how long they may take, and what their errors mean here."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec
from av.error import FFmpegError

from resonance.clients.errors import (
    CredentialsError,
    DeadlineExceededError,
    NotMediaError,
    ResonanceError,
    ServerFaultError,
    described,
)
from resonance.clients.extras import extra_hint
from resonance.clients.ingest.errors import MissingPackageError, SourceUnavailableError
from resonance.clients.ingest.uris import local_path

T = TypeVar("T")

#: What the libraries would wait for ever, or for many minutes, by default. s3fs tries five times what is
#: tried twice below, so a store that takes calls and never answers is given up after two and a half minutes.
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 5.0, 15.0
_S3_OPTIONS = {
    "config_kwargs": {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
        "retries": {"total_max_attempts": 2, "mode": "standard"},
    }
}
_GS_OPTIONS = {"requests_timeout": _READ_TIMEOUT_S}
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": _S3_OPTIONS,
    "s3a": _S3_OPTIONS,
    "gs": _GS_OPTIONS,
    "gcs": _GS_OPTIONS,
}
#: What to do where the package is not installed.
_EXTRAS = {
    scheme: f"; {extra_hint(extra)}"
    for scheme, extra in {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}.items()
}
#: The file's own fault, whatever file system says it. Anything else may be better at the next try.
_OWN_ERRNOS = frozenset(
    (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO),  # the last: of a socket
    )
)
#: The same as answers over HTTP: forbidden, not there.
_OWN_STATUSES = frozenset((403, 404, 410))
#: What the libraries of stores raise beside the errors of Python, by name: none of them need be installed.
_AWAY = frozenset(("ClientConnectionError", "HTTPClientError", "ConnectionError", "EndpointConnectionError"))
_NO_CREDENTIALS = frozenset(
    (
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
        *("TokenRetrievalError", "DefaultCredentialsError", "RefreshError"),
    )
)
#: S3's codes for credentials that no object would be handed out to.
#: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_BAD_CREDENTIALS = frozenset(
    (
        *("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed"),
        *("SignatureDoesNotMatch", "TokenRefreshRequired"),
    )
)
#: Codes that S3 gives where an answer has no body to say more in.
_SAYS_NO_MORE = frozenset(("400", "403"))
#: Some libraries put a page into an error.
_MOST_CHARACTERS = 500
EXPECTED_FILE = "a file that can be read"


def file_system(uri: str) -> tuple[Any, str]:
    """fsspec's file system of a URI, and the name of the file in it.

    Listings are not kept: an object that was listed an hour ago may be another one now.

    Raises:
        NotMediaError: no file system has such a scheme. MissingPackageError: its package is not installed.
    """
    scheme, _, _ = uri.partition("://")
    options = {} if "::" in uri else {"use_listings_cache": False, **_OPTIONS.get(scheme, {})}
    try:
        system, name = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        raise MissingPackageError(f"{uri}: {error}{_EXTRAS.get(scheme, '')}") from error
    except ValueError as error:
        raise NotMediaError(uri, str(error), "a path or a URI that fsspec opens") from error
    return system, name


def asked(uri: str, ask: Callable[[], T]) -> T:
    """`ask`, with the errors of all file systems made ours.

    Raises:
        NotMediaError: the file is not there, or may not be read.
        SourceUnavailableError, DeadlineExceededError: the store does not answer.
        ServerFaultError: it answers with an error that may pass.
        CredentialsError: the store takes none of the credentials there are.
    """
    try:
        return ask()
    except ResonanceError:
        raise
    except Exception as error:  # every store's library has errors of its own
        raise _meaning(uri, error) from error


def _meaning(uri: str, error: Exception) -> ResonanceError:
    said = described(error, uri)[:_MOST_CHARACTERS]
    cause = error.__cause__ or error
    names = {kind.__name__ for kind in (*type(error).__mro__, *type(cause).__mro__)}
    local = local_path(uri) is not None
    if names & _NO_CREDENTIALS or _code(uri, error) in _BAD_CREDENTIALS or _status(error) == 401:
        return CredentialsError(f"{uri}: {said}; expected credentials that the store takes")
    if not local and (isinstance(cause, ConnectionError) or names & _AWAY):
        return SourceUnavailableError(uri, described(cause, uri)[:_MOST_CHARACTERS])
    if _is_its_own_fault(error) or (local and isinstance(error, ValueError)):  # a name with a zero byte
        came = f"it cannot be opened ({getattr(error, 'strerror', None) or said})"
        return NotMediaError(uri, came, EXPECTED_FILE)
    if not local and isinstance(error, TimeoutError):
        return DeadlineExceededError(f"{uri}: {said}")
    return ServerFaultError(f"{uri}: {said}")


def may_pass(error: BaseException | None) -> bool:
    """Whether it was a file system that failed below `error`, as a network's disk does, and not the file."""
    while error is not None:
        # FFmpeg says of bytes what systems say of disks: "input/output error" of a file that was cut off
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FFmpegError):
            return not _is_its_own_fault(error)
        error = error.__cause__
    return False


def _is_its_own_fault(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return True
    if _status(error) in _OWN_STATUSES or str(error).startswith("Forbidden: "):  # gcsfs, in a plain OSError
        return True
    return isinstance(error, OSError) and error.errno in _OWN_ERRNOS


def _status(error: Exception) -> int | None:
    """Of an answer over HTTP, as aiohttp and gcsfs tell it."""
    status = getattr(error, "status", getattr(error, "code", None))
    return status if isinstance(status, int) else None


def _code(uri: str, error: BaseException) -> str | None:
    """S3's code, asked for once more by a call whose answer has room for it; None of other stores."""
    code = _s3_code(error)
    if code in _SAYS_NO_MORE:
        try:
            system, name = file_system(uri)
            if "/" in name:
                system.cat_file(name, start=0, end=1)
            else:
                system.ls(name)  # of a bucket
        except Exception as other:  # every store's library has errors of its own
            code = _s3_code(other) or code
    return code


def _s3_code(error: BaseException) -> str | None:
    response = getattr(error.__cause__ or error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None
