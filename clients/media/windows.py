"""Arithmetic of segments: windows of equal length from the title's start."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows [i * length_s, (i + 1) * length_s) of a title."""

    length_s: float

    def index(self, time_s: float) -> int:
        """The window that holds `time_s`; times before the start belong to the first."""
        return max(math.floor(time_s / self.length_s), 0)

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
