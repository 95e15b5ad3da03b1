"""What a part finds, told as it is found: on the terminal, and in a file that outlives the process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def to_nobody(kind: str, value: Any) -> None:
    """Where nothing is told before the end."""


@dataclass(slots=True)
class PartResult:
    """What a part found. `skipped`: left out, with the reason; `errors`: failed, or cannot be true; `clocks`:
    the GPU's meanwhile.

    `tell` hears of everything as it comes: "row", "skipped", "error", and "begun" with what is tried next.
    """

    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    clocks: list[Row] = field(default_factory=list)
    tell: Callable[[str, Any], None] = field(default=to_nobody, compare=False)

    def row(self, row: Row) -> None:
        """Add a figure."""
        self.rows.append(row)
        self.tell("row", row)

    def skip(self, text: str) -> None:
        """Add what is left out, and why."""
        self.skipped.append(text)
        self.tell("skipped", text)

    def error(self, text: str) -> None:
        """Add what failed."""
        self.errors.append(text)
        self.tell("error", text)

    def begin(self, what: str) -> None:
        """Say what is tried next: should this process die, that is what it died of."""
        self.tell("begun", what)


@dataclass(frozen=True, slots=True)
class Journal:
    """A file to which every part of every run adds its lines, each whole before anything else happens.

    `run` is when the run began: two runs into one folder can be told apart.
    """

    path: Path
    run: str
    part: str

    def tell(self, kind: str, value: Any) -> None:
        """Add a line, and print what is a figure or went wrong."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(strict({"run": self.run, "part": self.part, kind: value}), allow_nan=False)
        with self.path.open("ab+") as file:
            # what another process was killed in the middle of is no part of this line
            if (size := file.seek(0, 2)) and (file.seek(size - 1), file.read(1))[1] != b"\n":
                line = "\n" + line
            file.write(f"{line}\n".encode())
        if kind == "row":
            print(f"{self.part}: " + ", ".join(f"{k} {as_text(v)}" for k, v in value.items()), flush=True)
        elif kind == "error":
            print(f"{self.part}: ERROR: {value}", flush=True)

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def since(self, offset: int) -> Iterator[tuple[str, Any]]:
        """Of the lines after byte `offset` kind and value; one that was cut off in the middle is left out."""
        if not self.path.exists():
            return
        for line in self.path.read_bytes()[offset:].splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if (told["run"], told["part"]) == (self.run, self.part):
                yield from ((k, v) for k, v in told.items() if k not in ("run", "part"))


def as_text(value: Any) -> str:
    """A cell of a table."""
    if isinstance(value, float):
        return (
            f"{value:.6f}" if 0.9 < value < 1 else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        )
    return str(value)


def strict(value: Any) -> Any:
    """`value` with None for numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
