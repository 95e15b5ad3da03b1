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
    for empty in (b"<!doctype html><html><body></body></html>", b"<div></div>"):
        with pytest.raises(NoModalityError, match="HTML without an article"):
            article_text(empty)


@pytest.mark.parametrize(
    "begin",
    ['<div class="post">', "<main>", "<section>", "<header>News</header>", "<h1>Bird</h1>", "<p>"],
)
def test_a_part_of_a_page_is_read_as_one(begin: str) -> None:
    menu = '<nav><a href="/">Home</a> <a href="/sport">Sport</a></nav>'
    body = "".join(f'<p data-id="0">{sentence}</p>' for sentence in SENTENCES)
    text = article_text(f"{begin}{menu}{body}<footer>Imprint</footer>".encode())
    for sentence in SENTENCES:
        assert sentence in text
    for other in ("Sport", "Imprint", "data-id", "<"):
        assert other not in text
    assert article_text(b"<p>A <b>short</b> one.</p>") == "A short one."


def test_the_name_says_that_it_is_html_where_the_text_does_not() -> None:
    given = f"{SENTENCES[0]}<br>{SENTENCES[1]}"
    assert article_text(given.encode(), "story.txt") == given
    read = article_text(given.encode(), "story.HTML")
    assert "<br>" not in read
    assert SENTENCES[0] in read
    assert article_text(b"<John> hello", "chat.txt") == "<John> hello"


def test_what_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(NotMediaError, match="not UTF-8"):
        article_text(b"\xff\xfe\x00\xd8")
    with pytest.raises(NotMediaError, match="cannot be opened"):
        article_text(tmp_path / "nobody.txt")
