"""Which bytes of a file are there: disjoint ranges in rising order."""

from __future__ import annotations

from bisect import bisect_right


class Ranges:
    """A set of byte positions, held as ranges that neither touch nor overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> int:
        """Put [start, end) in; how many of its bytes are new."""
        if end <= start:
            return 0
        first = bisect_right(self._starts, start)
        if first and self._ends[first - 1] >= start:
            first -= 1
        last = bisect_right(self._starts, end)
        held = sum(
            min(e, end) - max(s, start)
            for s, e in zip(self._starts[first:last], self._ends[first:last], strict=True)
        )
        merged_start, merged_end = start, end
        if first < last:
            merged_start = min(start, self._starts[first])
            merged_end = max(end, self._ends[last - 1])
        self._starts[first:last] = [merged_start]
        self._ends[first:last] = [merged_end]
        return end - start - held

    def end_of(self, position: int) -> int:
        """Where the range that holds `position` ends; `position` itself where none does."""
        at = bisect_right(self._starts, position) - 1
        return max(self._ends[at], position) if at >= 0 else position

    def holds(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is there."""
        return self.end_of(start) >= end

    def __contains__(self, position: int) -> bool:
        return self.end_of(position) > position

    def start_after(self, position: int) -> int | None:
        """Where the next range after `position` starts; None where there is none."""
        at = bisect_right(self._starts, position)
        return self._starts[at] if at < len(self._starts) else None
