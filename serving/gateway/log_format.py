"""How log lines look: apart from what writes them, for the command line is made without its package."""

from __future__ import annotations

from enum import StrEnum


class LogFormat(StrEnum):
    """How lines look."""

    TEXT = "text"
    JSON = "json"
