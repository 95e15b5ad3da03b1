"""Long texts: plain ones as they are, pages of HTML without what is not the article."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.clients.discovery.articles import article_text
from resonance.clients.errors import NoModalityError, NotMediaError

SENTENCES = (
    "The falcon circled above the harbour until the last boat had left the pier.",
    "Nobody on the quay had expected it to return, and yet it did, every evening of that long summer.",
    "Old sailors began to tell the time by it; children named it after the lighthouse.",
)
PAGE = f"""<!DOCTYPE html>
<html><head><title>A falcon</title><style>p {{ color: red }}</style>
<script>track("everything")</script></head>
<body><nav><a href="/">Home</a> <a href="/sport">Sport</a></nav>
<article><h1>A falcon</h1>{"".join(f"<p>{s}</p>" for s in SENTENCES)}</article>
<footer>Imprint, cookies, newsletter</footer></body></html>"""


def test_plain_text_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_text("A < B, and so on.\n\nSecond paragraph.")
    assert article_text(path) == "A < B, and so on.\n\nSecond paragraph."
    assert article_text(path.read_bytes()) == article_text(path)


def test_of_a_page_only_the_article_is_left(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    text = article_text(path)
    for sentence in SENTENCES:
        assert sentence in text
    for other in ("Sport", "newsletter", "track(", "color: red", "<p>"):
        assert other not in text


def test_a_page_without_an_article() -> None:
    with pytest.raises(NoModalityError, match="a page of HTML without an article"):
        article_text(b"<!doctype html><html><body></body></html>")


def test_what_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(NotMediaError, match="not UTF-8"):
        article_text(b"\xff\xfe\x00\xd8")
    with pytest.raises(NotMediaError, match="cannot be opened"):
        article_text(tmp_path / "nobody.txt")
