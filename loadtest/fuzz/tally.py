"""What came of inputs: counts by outcome, findings with their inputs, and how fast it went."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: An answer that takes longer is a finding; what was slow beside others is made again alone first.
HANG_S = 10.0
#: Inputs of one and the same finding that are kept; the others are counted.
KEPT_INPUTS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen.

    kind: "hang", "signal SIGSYS", ...; about: where, of how it was made and of what came.
    """

    part: str
    number: int
    kind: str
    about: str


@dataclass(slots=True)
class Tally:
    """Of one part of a run. Findings keep their inputs under `folder`.

    Attributes:
        outcomes: how often each came, such as "ok" or the class of an error.
        contained: crashes that were held where they were meant to be held, by what was told of them, with
            the numbers of their inputs.
        slowest: (seconds, number) of the slowest input.
    """

    part: str
    folder: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    contained: dict[str, list[int]] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, -1)
    figures: dict[str, Any] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)
    took_s: float = 0.0

    @property
    def inputs(self) -> int:
        """How many are done."""
        return self.outcomes.total()

    def record(self, number: int, outcome: str, took_s: float) -> None:
        """An input was done."""
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, (took_s, number))
        self.took_s = time.monotonic() - self.started_s

    def find(self, number: int, kind: str, about: str, data: bytes | None = None) -> None:
        """Keep a finding, and the input that led to it."""
        finding = Finding(self.part, number, kind, about)
        self.findings.append(finding)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.part}-findings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(finding), ensure_ascii=False) + "\n")
        if data is not None and sum(f.kind == kind for f in self.findings) <= KEPT_INPUTS:
            (self.folder / f"{self.part}-{number}.bin").write_bytes(data)

    def contain(self, number: int, told: str, data: bytes) -> None:
        """A crash that harmed nobody."""
        numbers = self.contained.setdefault(told, [])
        numbers.append(number)
        if len(numbers) <= KEPT_INPUTS:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{self.part}-contained-{number}.bin").write_bytes(data)

    def to_json(self) -> dict[str, Any]:
        """Everything, for the report."""
        return {
            "part": self.part,
            "inputs": self.inputs,
            "seconds": round(self.took_s, 1),
            "inputs_per_s": round(self.inputs / self.took_s, 1) if self.took_s else 0.0,
            "slowest_s": round(self.slowest[0], 3),
            "slowest_number": self.slowest[1],
            "outcomes": dict(self.outcomes.most_common()),
            "contained": {told: {"count": len(n), "numbers": n[:200]} for told, n in self.contained.items()},
            "findings": [{"number": f.number, "kind": f.kind, "about": f.about} for f in self.findings[:500]],
            "findings_count": len(self.findings),
            **self.figures,
        }
