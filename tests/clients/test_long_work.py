"""What long work says of how far it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from resonance.clients import long_work
from resonance.clients.long_work import LongWork

FIGURES = "0.07 h of media, 81 x real time, 12 unchanged, 3 relabelled, 0 failed"


@pytest.mark.parametrize("width", [60, 80])
def test_on_a_narrow_terminal_the_bar_and_the_figures_give_way(width: int) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    with LongWork(console, "ingest", "titles", total=12_345) as work:
        work.tell(1_234, FIGURES)
    line = next(line for line in reversed(shown.getvalue().splitlines()) if "ingest" in line)
    assert "1,234 of 12,345 titles" in line
    assert " s left" in line
    assert "0:00:00" in line
    assert FIGURES not in line


def test_on_a_wide_terminal_all_is_there() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=160, color_system=None, legacy_windows=False)
    with LongWork(console, "ingest", "titles", total=12_345) as work:
        work.tell(1_234, FIGURES)
    assert FIGURES in shown.getvalue()


def test_elsewhere_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    now_s = 100.0
    monkeypatch.setattr(long_work.time, "monotonic", lambda: now_s)
    with LongWork(Console(file=shown, width=40), "contours", "titles") as work:
        work.expect(1_000)
        for done in range(1, 8):
            now_s += 10.0
            work.tell(done, "none failed")
    assert shown.getvalue().splitlines() == [
        "3 of 1,000 titles, none failed, 2 h 46 min left",
        "6 of 1,000 titles, none failed, 2 h 45 min left",
    ]


def test_time_left_is_told_while_there_is_some_and_not_at_the_end() -> None:
    work = LongWork(Console(quiet=True), "ingest", "titles")
    work.tell(1)
    assert work.left() == ""  # nobody has counted
    work.expect(2)
    work.tell(1)
    assert work.left().endswith(" left")
    work.tell(3)  # one came after they were counted
    assert work.left() == ""
