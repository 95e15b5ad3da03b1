"""How many users there are at what time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Of each step, this share is left to settle before anything counts.
SETTLING = 0.25
#: But no more than this.
MOST_SETTLING_S = 120.0
#: Users of whom each kind is there as often as its weight says.
CREW = 13
MOST_STEPS = 12
#: A spike has this many times the users of what comes before and after.
SPIKE = 8


class Shape(StrEnum):
    """Of a run."""

    RAMP = "ramp"
    SPIKE = "spike"
    SOAK = "soak"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Step:
    """From `start_s` to `end_s` of the run there are `users`; figures count from `counts_s` on."""

    name: str
    users: int
    start_s: float
    end_s: float

    @property
    def counts_s(self) -> float:
        """When calls begin to count."""
        return self.start_s + min(SETTLING * (self.end_s - self.start_s), MOST_SETTLING_S)


def steps(shape: Shape, users: int, seconds: float) -> list[Step]:
    """The steps of a run.

    Raises:
        ValueError: no users, or no time.
    """
    if users < 1 or seconds <= 0:
        raise ValueError(f"users={users} and seconds={seconds:g}: expected at least one user and some time")
    match shape:
        case Shape.RAMP:
            counts = rising(users)
            names = [f"{count} users" for count in counts]
        case Shape.SPIKE:
            calm = max(1, users // SPIKE)
            counts, names = [calm, users, calm], ["before", "spike", "after"]
        case _:
            counts, names = [users], [str(shape)]
    length_s = seconds / len(counts)
    return [
        Step(name, count, i * length_s, (i + 1) * length_s)
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    ]


def rising(most: int) -> list[int]:
    """Users of a ramp's steps up to `most`: whole crews, as the mix is only that of the weights in these."""
    if most <= CREW:
        return [most]
    whole = list(range(CREW, most + 1, CREW))
    step = -(-len(whole) // MOST_STEPS)
    counts = whole[step - 1 :: step]
    return counts if counts[-1] == most else [*counts, most]


def users_at(plan: Sequence[Step], at_s: float) -> int | None:
    """Users at a time; None once the run is over."""
    return next((step.users for step in plan if at_s < step.end_s), None)
