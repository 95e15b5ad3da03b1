"""The words of an article: plain text, or HTML, a page or a part of one, without its menus and footers."""

from __future__ import annotations

import re
from pathlib import Path

from resonance.clients.errors import NoModalityError, NotMediaError
from resonance.clients.face import Source
from resonance.clients.media.text import EXPECTED_TEXT, MAX_TEXT_BYTES, decode_text

#: What a page of HTML begins with, after white space and a byte order mark.
_PAGE = re.compile(r"<(!--|(!doctype html|html|head|body|\?xml)\b)", re.IGNORECASE)
#: What a part of a page begins with, as editors and feeds have it, and how files of HTML are named.
_PART = re.compile(
    r"<(article|aside|main|section|header|footer|nav|div|p|h[1-6]|blockquote|figure|picture|img|table|pre|hr|br"
    r"|ul|ol|dl|span|a|b|strong|i|em|title|meta|link|style|script)(\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_HTML_SUFFIXES = (".html", ".htm", ".xhtml")


def article_text(source: Source, name: str | None = None) -> str:
    """The text of an article: a path, the bytes of a file or a binary file.

    Args:
        name: what to call it in errors; its ending says what is HTML, too. By default its path, or "article".

    Raises:
        NotMediaError: it cannot be opened, is too large, or is not UTF-8.
        NoModalityError: HTML without an article in it.
    """
    called, data = _read(source)
    name = name or called
    text = decode_text(data, name)
    if _PAGE.match(text.lstrip()):
        found = _article(text)
    elif _PART.match(text.lstrip()) or name.lower().endswith(_HTML_SUFFIXES):
        page = f"<!doctype html><html><body>{text}</body></html>"
        found = _article(page) or _article(page, least_letters=1)  # a part may be short
    else:
        return text
    if not found:
        raise NoModalityError(name, "HTML without an article", "HTML that has sentences in it")
    return found


def _article(page: str, *, least_letters: int | None = None) -> str:
    """The article of a page; by default trafilatura says how short one may be."""
    import trafilatura  # it takes half a second, and plain text needs none of it
    from trafilatura.settings import use_config

    config = use_config()
    if least_letters is not None:
        for size in ("MIN_EXTRACTED_SIZE", "MIN_OUTPUT_SIZE"):
            config.set("DEFAULT", size, str(least_letters))
    return trafilatura.extract(page, include_comments=False, favor_recall=True, config=config) or ""


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
