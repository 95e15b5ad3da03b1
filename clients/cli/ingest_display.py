"""How far a job is, for people: what became of its titles so far."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console

from resonance.clients.cli.reporting import say_failed
from resonance.clients.ingest.embedding import Outcome, Result
from resonance.clients.long_work import LongWork


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
        self._work = LongWork(console, "ingest", "titles")

    def __enter__(self) -> Self:
        self._work.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._work.__exit__(kind, error, trace)

    def expect(self, titles: int) -> None:
        """How many titles the catalogue has, once that is known."""
        self._work.expect(titles)

    def show(self, outcome: Outcome) -> None:
        """One more title is done."""
        self.tally.add(outcome)
        if outcome.result is Result.FAILED:
            # a row of a catalogue is told by its place, which its error begins with as well
            kind, colon, text = outcome.error.partition(": ")
            text = text.removeprefix(f"{outcome.media_id}: ")
            say_failed(self._console, f"{outcome.media_id}: {kind}{colon}{text}")
        self._work.tell(self.tally.done, self.figures())

    def figures(self) -> str:
        """Hours, times real time, failures."""
        tally = self.tally
        words = [
            f"{tally.media_s / 3600:.2f} h of media",
            f"{tally.media_s / self._work.spent_s:.0f} x real time",
        ]
        if tally.unchanged:
            words.append(f"{tally.unchanged:,} unchanged")
        if tally.relabelled:
            words.append(f"{tally.relabelled:,} relabelled")
        words.append(f"{tally.failed:,} failed")
        return ", ".join(words)
