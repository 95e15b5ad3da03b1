"""What a job says of how far it is."""

from __future__ import annotations

import io

from rich.console import Console

from resonance.clients.cli.ingest_display import JobDisplay
from resonance.clients.ingest.embedding import Outcome, Result


def test_figures_count_what_became_of_titles() -> None:
    display = JobDisplay(Console(quiet=True))
    display.show(Outcome("a", Result.EMBEDDED, 36.0))
    display.show(Outcome("b", Result.FAILED))
    figures = display.figures()
    assert figures.startswith("0.01 h of media, ")
    assert figures.endswith(", 1 failed")


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


def test_no_name_steers_the_terminal() -> None:
    shown = io.StringIO()
    JobDisplay(Console(file=shown, width=300)).show(
        Outcome("a\x1b[31m [b]", Result.FAILED, error="NotMediaError: a\x1b[31m [b]: \x9bno\nfilm")
    )
    assert shown.getvalue() == "a\\x1b[31m [b]: NotMediaError: \\x9bno film\n"
