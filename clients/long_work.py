"""How far long work is, for people: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

#: Between lines where there is no terminal.
LINE_EVERY_S = 30.0
#: Of a bar, where there is room.
_BAR_CHARACTERS = 24


class LongWork:
    """Use as a context manager, around the work.

    Where a terminal is narrow the bar and the figures give way, not the count and the time that is left.

    Args:
        console: where people look; not where results are written.
        name: what is done. unit: what is counted, such as "titles".
        total: how many there are; None until somebody knows.
    """

    def __init__(self, console: Console, name: str, unit: str, *, total: float | None = None) -> None:
        self._console = console
        self._unit = unit
        self._total = total
        self._done = 0.0
        self._started_s = self._line_s = time.monotonic()
        self._progress = Progress(
            TextColumn(name),
            BarColumn(None, table_column=Column(max_width=_BAR_CHARACTERS)),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}"),
            _GivingWay("{task.fields[figures]}", table_column=Column()),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, count=self._count(), left="", figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, total: float) -> None:
        """How many there are, once that is known."""
        self._total = total
        self._progress.update(self._task, total=total, count=self._count())

    def tell(self, done: float, figures: str = "") -> None:
        """So many are done; `figures`: what else there is to say, in a few words."""
        self._done = done
        left = self.left()
        self._progress.update(self._task, completed=done, count=self._count(), left=left, figures=figures)
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            line = ", ".join(filter(None, (self._count(), figures, left)))
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def spent_s(self) -> float:
        """Since the work began."""
        return max(time.monotonic() - self._started_s, 1e-9)

    def left(self) -> str:
        """How much time is left, or "" where that cannot be told."""
        # more may have come since they were counted
        if self._total is None or not 0 < self._done <= self._total:
            return ""
        return f"{_clock(self.spent_s / self._done * (self._total - self._done))} left"

    def _count(self) -> str:
        of = "" if self._total is None else f" of {self._total:,.0f}"
        return f"{self._done:,.0f}{of} {self._unit}"


class _GivingWay(TextColumn):
    """Text that is cut where there is no room. In a column that may wrap, which are made narrow first."""

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def _clock(seconds: float) -> str:
    minutes, _ = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {round(seconds) % 60:02d} s"
