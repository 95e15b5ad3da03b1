"""What commands write alike: failures as one line each, shares of a score."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resonance.clients.media.text import shown


def failed_with(error: Exception) -> int:
    """One line on stderr; gives the exit code."""
    say_failed(Console(stderr=True), str(error))
    return 1


def say_failed(console: Console, text: str) -> None:
    """A failure as one line, in red; nothing in it is taken for markup."""
    _say(console, text, style="red")


def say_remark(console: Console, text: str) -> None:
    """What a result lacks, as one line; nothing in it is taken for markup."""
    _say(console, text)


def say_warning(console: Console, text: str) -> None:
    """What a result cannot be relied on for, as one line, in yellow; nothing in it is taken for markup."""
    _say(console, text, style="yellow")


def _say(console: Console, text: str, style: str | None = None) -> None:
    line = shown(" ".join(text.split()))
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def hits_table(*heads: str, first: str = "") -> Table:
    """A table of titles. Their ids are never cut: other commands ask for them whole."""
    table = Table(first, box=None, padding=(0, 2, 0, 0))
    table.add_column("title", overflow="fold", min_width=12)
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table


def title_cell(media_id: str) -> str:
    """An id in a table: as it is, but for what a terminal would obey."""
    return escape(shown(media_id))


def share_cell(value: float, inferred: bool) -> str:
    """A block's share of a score in a table; one from an inferred block has a tilde, and none a dash."""
    if value == 0:
        return "–"
    return f"{'~' if inferred else ''}{value:+.3f}"
