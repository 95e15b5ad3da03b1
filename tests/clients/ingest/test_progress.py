"""What a job says of how far it is."""

from __future__ import annotations

import io

from rich.console import Console

from resonance.clients.ingest.embedding import Outcome, Result
from resonance.clients.ingest.progress import JobDisplay


def test_time_left_is_told_while_there_is_some_and_not_at_the_end() -> None:
    display = JobDisplay(Console(quiet=True))
    assert "left" not in display.figures(left=True)  # nobody has counted
    display.expect(2)
    display.show(Outcome("a", Result.EMBEDDED, 3.0))
    assert display.figures(left=True).endswith(" left")
    assert "left" not in display.figures()
    display.show(Outcome("b", Result.FAILED))
    display.show(Outcome("c", Result.EMBEDDED, 3.0))  # it came after the folder was counted
    assert "left" not in display.figures(left=True)
    assert "1 failed" in display.figures()


def test_what_failed_is_named_once() -> None:
    shown = io.StringIO()
    display = JobDisplay(Console(file=shown, width=300))
    display.show(Outcome("a.csv row 145", Result.FAILED, error="CatalogueError: a.csv row 145: no uri"))
    display.show(Outcome("film", Result.FAILED, error="NotMediaError: /films/film.mp4: no film"))
    display.show(Outcome("b", Result.FAILED, error="in quarantine since an earlier job"))
    assert shown.getvalue().splitlines() == [
        "a.csv row 145: CatalogueError: no uri",
        "film: NotMediaError: /films/film.mp4: no film",
        "b: in quarantine since an earlier job",
    ]
