"""Arithmetic of segments: windows of equal length from the title's start."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: What rounding may take off a time: of seconds since 1970 half of it, and far less than a picture stands.
ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows [i * length_s, (i + 1) * length_s) of a title."""

    length_s: float

    def index(self, time_s: float) -> int:
        """The window that holds `time_s`; times before the start belong to the first."""
        return max(math.floor(time_s / self.length_s), 0)

    def settled_s(self, time_s: float) -> float:
        """`time_s`, but the edge of two windows where it misses that by rounding alone.

        A keyframe at 8 s of a title whose clock starts anywhere but at 0 may come out just below 8: it would
        stand for the window before the one that it begins.
        """
        edge_s = round(time_s / self.length_s) * self.length_s
        return edge_s if abs(time_s - edge_s) <= ROUNDING_S else time_s

    def start_s(self, index: int) -> float:
        """Where window `index` starts."""
        return index * self.length_s

    def end_s(self, index: int) -> float:
        """Where window `index` ends."""
        return (index + 1) * self.length_s

    def centres_s(self, index: int, parts: int) -> tuple[float, ...]:
        """Centres of `parts` equal parts of window `index`."""
        step = self.length_s / parts
        return tuple(self.start_s(index) + (k + 0.5) * step for k in range(parts))
