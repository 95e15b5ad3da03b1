"""Errors of discovery, beside those of `resonance.clients.errors`.

UsageError
└── EmptyHistoryError  no title of a history is in the library and counts
"""

from __future__ import annotations

from resonance.clients.errors import UsageError


class EmptyHistoryError(UsageError):
    """A history of which nothing is left to make a taste of; says what it held and what was expected."""
