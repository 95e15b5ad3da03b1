"""Media ids as parts of a path: they may hold slashes, dots and anything else that text can."""

from __future__ import annotations

import base64
import binascii

from resonance.clients.explorer.errors import UnknownTitleError


def key_of(media_id: str) -> str:
    """The id's UTF-8 in base64url (RFC 4648, section 5) without padding."""
    return base64.urlsafe_b64encode(media_id.encode()).decode().rstrip("=")


def media_id_of(key: str) -> str:
    """The inverse of `key_of`.

    Raises:
        UnknownTitleError: no key.
    """
    try:
        media_id = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise UnknownTitleError(
            f"'{key[:80]}' names no title; expected a key that this server gave"
        ) from error
    return media_id
