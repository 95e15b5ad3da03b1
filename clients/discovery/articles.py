"""The words of an article: plain text, or a page of HTML without its menus and footers."""

from __future__ import annotations

from pathlib import Path

from resonance.clients.errors import NoModalityError, NotMediaError
from resonance.clients.face import Source
from resonance.clients.media.text import EXPECTED_TEXT, MAX_TEXT_BYTES, decode_text

#: What a page of HTML begins with, after white space and a byte order mark.
_HTML_HEADS = ("<!doctype html", "<html", "<head", "<body", "<article", "<!--", "<?xml")


def article_text(source: Source, name: str | None = None) -> str:
    """The text of an article: a path, the bytes of a file or a binary file.

    Args:
        name: what to call it in errors; by default its path, or "article".

    Raises:
        NotMediaError: it cannot be opened, is too large, or is not UTF-8.
        NoModalityError: a page without an article in it.
    """
    called, data = _read(source)
    name = name or called
    text = decode_text(data, name)
    if not text.lstrip()[:64].lower().startswith(_HTML_HEADS):
        return text
    import trafilatura  # it takes half a second, and plain text needs none of it

    found = trafilatura.extract(text, include_comments=False, favor_recall=True)
    if not found:
        raise NoModalityError(name, "a page of HTML without an article", "a page whose body has sentences")
    return str(found)


def _read(source: Source) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return "article", source
    if not isinstance(source, str | Path):
        return "article", source.read(MAX_TEXT_BYTES + 1)
    try:
        with Path(source).open("rb") as file:
            return str(source), file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise NotMediaError(str(source), f"it cannot be opened ({error.strerror})", EXPECTED_TEXT) from error
