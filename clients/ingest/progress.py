"""How far a job is, for people: one display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from resonance.clients.ingest.embedding import Outcome, Result

#: Between lines where there is no terminal.
LINE_EVERY_S = 30.0


@dataclass(slots=True)
class Tally:
    """Titles by what became of them, and seconds of media that were embedded."""

    embedded: int = 0
    unchanged: int = 0
    relabelled: int = 0
    failed: int = 0
    media_s: float = 0.0

    @property
    def done(self) -> int:
        """All titles so far."""
        return self.embedded + self.unchanged + self.relabelled + self.failed

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        if outcome.result is Result.EMBEDDED:
            self.embedded += 1
            self.media_s += outcome.duration_s
        elif outcome.result is Result.UNCHANGED:
            self.unchanged += 1
        elif outcome.result is Result.RELABELLED:
            self.relabelled += 1
        else:
            self.failed += 1


class JobDisplay:
    """Use as a context manager, around the job.

    Args:
        console: where people look; not where results are written.
    """

    def __init__(self, console: Console) -> None:
        self.tally = Tally()
        self._console = console
        self._started_s = self._line_s = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("titles"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("ingest", total=None, figures="")
        self._total: int | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, titles: int) -> None:
        """How many titles the catalogue has, once that is known."""
        self._total = titles
        self._progress.update(self._task, total=titles)

    def show(self, outcome: Outcome) -> None:
        """One more title is done."""
        self.tally.add(outcome)
        if outcome.result is Result.FAILED:
            self._console.print(
                " ".join(f"{outcome.media_id}: {outcome.error}".split()),
                style="red",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        figures = self.figures(left=True)
        self._progress.update(self._task, completed=self.tally.done, figures=figures)
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            of = f" of {self._total:,}" if self._total is not None else ""
            self._console.print(f"{self.tally.done:,}{of} titles, {figures}", highlight=False, soft_wrap=True)

    def figures(self, *, left: bool = False) -> str:
        """Hours, times real time, failures; and how much time is `left`, where that can be told."""
        tally = self.tally
        spent_s = max(time.monotonic() - self._started_s, 1e-9)
        words = [f"{tally.media_s / 3600:.2f} h of media", f"{tally.media_s / spent_s:.0f} x real time"]
        if tally.unchanged:
            words.append(f"{tally.unchanged:,} unchanged")
        if tally.relabelled:
            words.append(f"{tally.relabelled:,} relabelled")
        words.append(f"{tally.failed:,} failed")
        # a folder may have grown since it was counted
        if left and self._total is not None and 0 < tally.done <= self._total:
            words.append(f"{_clock(spent_s / tally.done * (self._total - tally.done))} left")
        return ", ".join(words)


def _clock(seconds: float) -> str:
    minutes, _ = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {round(seconds) % 60:02d} s"
