"""Paths and URIs: which of them are this machine's, and how they are put together."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: A scheme has two letters at least, so that C:\\ is none.
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")


def local_path(uri: str) -> Path | None:
    """The path of a path or a ``file:`` URI; None for what is elsewhere."""
    if not _SCHEME.match(uri):
        return Path(uri)
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    return None


def beside(uri: str, other: str) -> str:
    """`other`, seen from the folder that `uri` stands in; what is absolute stays as it is."""
    if _SCHEME.match(other) or other.startswith("/"):
        return other
    if not _SCHEME.match(uri):
        return str(Path(uri).parent / other)
    folder, _, _ = uri.rpartition("/")
    scheme, _, rest = f"{folder}/{other}".partition("://")
    return f"{scheme}://{posixpath.normpath(rest)}"


def suffix(uri: str) -> str:
    """``.mp4`` of ``s3://bucket/film.MP4?version=3``; empty where there is none."""
    path = urlsplit(uri).path if _SCHEME.match(uri) else uri
    return posixpath.splitext(path)[1].lower()
