"""Errors as answers: which status, and the kind and text that the page shows."""

from __future__ import annotations

from typing import Any

from resonance.clients.errors import (
    DeadlineExceededError,
    MediaError,
    MediaLimitError,
    OverloadedError,
    RequestRejectedError,
    ServerError,
    UsageError,
)
from resonance.clients.ingest.errors import StoreError
from resonance.space.errors import SpaceError, SpaceMismatchError


class UnknownTitleError(UsageError):
    """The library has no such title."""


class ExpiredExampleError(UsageError):
    """An example is no longer in memory, or never was."""


class NothingToShowError(UsageError):
    """A title has no picture, or nothing that plays."""


#: The first row that fits counts. 421 and 403 are given by `resonance.clients.explorer.security`.
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (UnknownTitleError, 404),
    (NothingToShowError, 404),
    (ExpiredExampleError, 410),
    (MediaLimitError, 413),
    (MediaError, 422),
    (OverloadedError, 503),
    (DeadlineExceededError, 504),
    (ServerError, 503),
    (RequestRejectedError, 502),
    (StoreError, 503),
    (SpaceMismatchError, 409),
    (SpaceError, 400),
    (UsageError, 400),
)


def status_of(error: Exception) -> int:
    """The HTTP status of an error of ours; 500 for any other."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def as_json(error: Exception) -> dict[str, Any]:
    """Kind and text. An error that is not ours may tell more than a page should: its kind alone."""
    known = any(isinstance(error, kind) for kind, _ in STATUSES)
    text = " ".join(str(error).split()) if known else "the explorer failed; its terminal says how"
    return {"error": {"kind": type(error).__name__, "text": text}}
