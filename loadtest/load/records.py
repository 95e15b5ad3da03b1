"""What became of each call, written by the process that sends and read by the one that judges."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any


class Result(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    #: RESOURCE_EXHAUSTED that says when to come again.
    REFUSED = "refused"
    FAILED = "failed"


class Phase(StrEnum):
    """When it was sent."""

    UNLOADED = "unloaded"
    LOADED = "loaded"


@dataclass(frozen=True, slots=True)
class Record:
    """One call, or one segment of a live feed.

    Attributes:
        phase: before the load, or in it. group: what objectives name, such as "upload".
        kind: what was sent exactly. due_s: seconds from the begin of the phase at which it was due.
        took_s: from when it was due to its end. result, code: how it ended, gRPC's name of its status.
        note: why it failed, empty where it did not.
    """

    phase: Phase
    group: str
    kind: str
    due_s: float
    took_s: float
    result: Result
    code: str = "OK"
    note: str = ""

    @property
    def ended_s(self) -> float:
        """When it ended, from the begin of its phase."""
        return self.due_s + self.took_s


@dataclass(slots=True)
class Sent:
    """Everything that a run's sending process tells.

    Attributes:
        records: of all calls. media: seconds of media answered, by when, from the begin of the load.
        late: how late the sending process began what was due, in seconds, by when. cpu: its CPU time by when.
        tool: what else it measured of itself.
    """

    records: list[Record] = field(default_factory=list)
    media: list[tuple[float, float]] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)
    cpu: list[tuple[float, float]] = field(default_factory=list)
    tool: dict[str, Any] = field(default_factory=dict)

    def of(self, phase: Phase) -> list[Record]:
        """Records of a phase."""
        return [each for each in self.records if each.phase is phase]


class Journal:
    """Lines of JSON: a call, media that was answered, or what the tool says of itself.

    Args:
        file: where they go; each ends with a line break.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.results = dict.fromkeys(Result, 0)
        self.media_s = 0.0

    def record(self, record: Record) -> None:
        """A call has ended."""
        self.results[record.result] += 1
        self._line("call", astuple(record))

    def answered_media(self, at_s: float, media_s: float) -> None:
        """A segment of `media_s` came `at_s` after the begin of the load."""
        self.media_s += media_s
        self._line("media", (at_s, media_s))

    def late(self, at_s: float, late_s: float) -> None:
        """What was due `at_s` after the begin of the load began so much later."""
        self._line("late", (round(at_s, 4), round(late_s, 6)))

    def cpu(self, at_s: float, cpu_s: float) -> None:
        """CPU time of this process up to `at_s` after the begin of the load."""
        self._line("cpu", (at_s, cpu_s))

    def tool(self, **figures: float | str | list[float]) -> None:
        """Something of the tool itself."""
        self._line("tool", figures)

    def _line(self, kind: str, value: Any) -> None:
        self._file.write(json.dumps([kind, value]) + "\n")


def read(lines: Iterable[str]) -> Sent:
    """What a journal holds; a last line that was cut off is left out."""
    sent = Sent()
    for kind, value in _parsed(lines):
        if kind == "call":
            phase, group, name, due_s, took_s, result, code, note = value
            sent.records.append(Record(Phase(phase), group, name, due_s, took_s, Result(result), code, note))
        elif kind in ("media", "late", "cpu"):
            getattr(sent, kind).append((value[0], value[1]))
        else:
            sent.tool.update(value)
    return sent


def read_file(path: Path) -> Sent:
    """What the journal at `path` holds."""
    with path.open(encoding="utf-8") as lines:
        return read(lines)


def _parsed(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for line in lines:
        if line.endswith("\n"):
            kind, value = json.loads(line)
            yield kind, value
