"""The committed baseline of `make bench-check`: ratios by machine, and how each came to be accepted.

Every ratio here is a cost: less is better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: A ratio may get worse by this much before the check fails.
LOSS = 0.15
#: On a processor that nobody accepted ratios for: those of another say less, as cores share more or less.
FOREIGN_LOSS = 0.40


class BaselineError(Exception):
    """The baseline cannot be used."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted at once. `changed`: by ratio its value before (None: it is new) and after."""

    machine: str
    date: str
    commit: str
    reason: str
    changed: dict[str, tuple[float | None, float]]


@dataclass(slots=True)
class Baseline:
    """Ratios by machine and name; `history` in the order of acceptance."""

    machines: dict[str, dict[str, float]] = field(default_factory=dict)
    history: list[Accepted] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Of a file; empty where there is none.

        Raises:
            BaselineError: it is damaged.
        """
        if not path.exists():
            return cls()
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            history = [Accepted(**{**one, "changed": _pairs(one["changed"])}) for one in data["history"]]
            return cls(data["machines"], history)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"{path}: {type(error).__name__}: {error}"
            raise BaselineError(f"{said}; expected machines and history: take the committed one") from error

    def save(self, path: Path) -> None:
        """As a file that reads well in a diff."""
        data: dict[str, Any] = {"machines": self.machines, "history": [asdict(one) for one in self.history]}
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def of(self, machine: str) -> tuple[dict[str, float], float]:
        """Ratios to compare with on `machine`, and by how much they may be exceeded.

        On a machine that nobody accepted anything for they are the worst of all machines, and may be exceeded
        by more: less strict, but never nothing.
        """
        if machine in self.machines:
            return self.machines[machine], LOSS
        worst: dict[str, float] = {}
        for ratios in self.machines.values():
            for name, value in ratios.items():
                worst[name] = max(worst.get(name, value), value)
        return worst, FOREIGN_LOSS

    def accept(
        self, machine: str, measured: Mapping[str, float], reason: str, date: str, commit: str
    ) -> None:
        """Make `measured` the ratios of `machine`; what they were stays in the history.

        Raises:
            BaselineError: no reason is given.
        """
        if not reason.strip():
            raise BaselineError('the reason is empty; expected why the ratios changed, ACCEPT="..."')
        before = self.machines.get(machine, {})
        after = {name: round(value, 4) for name, value in sorted(measured.items())}
        changed = {
            name: (before.get(name), value) for name, value in after.items() if before.get(name) != value
        }
        self.machines[machine] = after
        self.history.append(Accepted(machine, date, commit, reason.strip(), changed))


def _pairs(changed: Mapping[str, Any]) -> dict[str, tuple[float | None, float]]:
    return {name: (before, after) for name, (before, after) in changed.items()}


def loss(now: float, before: float) -> float:
    """By how much `now` costs more than `before`, as a share; below 0 it costs less."""
    return now / before - 1
