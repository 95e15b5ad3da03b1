"""Paths and URIs: which of them are this machine's, and how they are put together."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from resonance.clients.errors import UsageError
from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.media.text import can_be_stored

#: Only what is followed by a slash is one, so that ``Alien: Covenant.mp4`` and ``C:\\films`` are none.
_SCHEME = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]+:(?:/|:)|file:|qdrant\+local:)")


def local_path(uri: str) -> Path | None:
    """The path of a path or a ``file:`` URI; None for what is elsewhere.

    Raises:
        UsageError: nothing is named. It would be the current folder, where a shell's variable is not set.
    """
    if not uri:
        raise UsageError("an empty name; expected a path or a URI ('.' is the current folder)")
    if not _SCHEME.match(uri):
        return Path(uri)
    if uri.startswith("file:"):
        return Path(unquote(re.sub(r"^file:(?://[^/]*)?", "", uri)))
    return None


def beside(uri: str, other: str) -> str:
    """`other`, seen from the folder that `uri` stands in; what is absolute stays as it is."""
    if _SCHEME.match(other) or other.startswith("/"):
        return other
    path = local_path(uri)
    if path is not None:
        return str(path.parent / other)
    folder, _, _ = uri.rpartition("/")
    scheme, _, rest = f"{folder}/{other}".partition("://")
    return f"{scheme}://{posixpath.normpath(rest)}"


def absolute(uri: str) -> str:
    """A path of this machine from its root on, for whoever works in another folder; others as they are."""
    return uri if _SCHEME.match(uri) else os.path.join(os.getcwd(), uri)


def normal(uri: str) -> str:
    """The same for every spelling of a place: folders of this machine from the root on, others without a last
    slash.

    Raises:
        UsageError: see `local_path`, `qdrant_place`.
    """
    path = local_path(uri)
    if path is not None:
        return str(path.resolve())
    place = qdrant_place(uri)
    if place is not None and place.folder is not None:
        return f"qdrant+local:{place.folder.resolve()}?name={place.name}"
    return uri.rstrip("/")


def check_utf_8(place: str, what: str) -> None:
    """Refuse a place of which neither journals nor rows could say the name.

    Raises:
        UsageError: its name, which the user gave as `what`, is not UTF-8.
    """
    if not can_be_stored(place):
        raise UsageError(f"{what} {place}: a name that is not UTF-8; expected one that is")


def suffix(uri: str) -> str:
    """``.mp4`` of ``s3://bucket/film.MP4?version=3``; empty where there is none."""
    # only on the web is what follows a question mark no part of the name
    path = urlsplit(uri).path if uri.startswith(("http://", "https://")) else uri
    return posixpath.splitext(path)[1].lower()
