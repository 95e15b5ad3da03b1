"""What a journal tells of a title: how far it is, what is known of it, why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How far a title is."""

    BEGUN = "begun"
    EMBEDDED = "embedded"
    WRITING = "writing"
    STORED = "stored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal knows of a title in a space; see the table's columns."""

    content_hash: str
    state: State
    uri: str
    identity: str | None
    labels: str | None
    said: str | None
    run: str
    own_fault: bool
    stored_hash: str | None
    stored_identity: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a title cannot be embedded. `own_fault`: of the media itself, so that trying again is no use."""

    error_type: str
    error: str
    attempts: int
    own_fault: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A title in quarantine. `failed_s`: Unix time."""

    media_id: str
    uri: str
    content_hash: str
    error_type: str
    error: str
    attempts: int
    failed_s: float
