"""Which stretch of a title becomes a clip of a reel: near its segment, cut where shots change. Pure.

All times are seconds from the title's start, as those of its segments are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from resonance.clients.errors import UsageError

#: How far outside its segment a clip may begin or end, to do so at a cut; a long one: see `ReelPlan.room`.
REACH_S = 2.0
#: Of the wanted length, the shortest and the longest that a clip may be to begin and end at cuts.
SHORTEST, LONGEST = 0.5, 1.5
#: What stays of a shot at a clip's end, and is shorter, looks like a mistake.
SLIVER_S = 0.5
#: Times nearer than this are the same; a frame lasts longer.
SAME_S = 1e-3
#: What is wrong with a clip, added up; a length that is off by the whole wanted length costs 1, and so does a
#: clip that lies outside its segment. A hard beginning is seen more than a hard end.
COST_START, COST_END, COST_SLIVER, COST_UNSEEN = 0.6, 0.3, 1.0, 1.0


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a title, `start_s` < `end_s`."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.start_s

    def overlap_s(self, other: Span) -> float:
        """Seconds that lie in both."""
        return max(min(self.end_s, other.end_s) - max(self.start_s, other.start_s), 0.0)


@dataclass(frozen=True, slots=True)
class Cut:
    """What is taken of a title. `start_at_shot`, `end_at_shot`: whether a shot begins or ends there."""

    span: Span
    start_at_shot: bool
    end_at_shot: bool


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a clip may be, in seconds.

    Raises:
        UsageError: not 0 < shortest <= wanted <= longest.
    """

    shortest_s: float
    wanted_s: float
    longest_s: float

    def __post_init__(self) -> None:
        if not 0 < self.shortest_s <= self.wanted_s <= self.longest_s < math.inf:
            raise UsageError(f"lengths of clips {self}; expected 0 < shortest <= wanted <= longest")


@dataclass(slots=True)
class ReelPlan:
    """What of a reel is taken so far, and what may still be.

    Attributes:
        seconds: longest reel. clip_s: wanted length of a clip. per_title: most clips of one title.
        most_clips: of the reel; None for as many as fit.

    Raises:
        UsageError: numbers that no reel can have.
    """

    seconds: float
    clip_s: float
    per_title: int = 2
    most_clips: int | None = None
    _taken: dict[str, list[Span]] = field(default_factory=dict)
    _clips: dict[str, int] = field(default_factory=dict)
    _filled_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.clip_s < math.inf or not self.clip_s <= self.seconds < math.inf:
            raise UsageError(
                f"a reel of {self.seconds:g} s with clips of {self.clip_s:g} s; "
                "expected clips of over 0 s and a reel of at least one"
            )
        if self.per_title < 1 or (self.most_clips is not None and self.most_clips < 1):
            raise UsageError(f"{self.per_title} clips a title, {self.most_clips} in all; expected at least 1")

    @property
    def filled_s(self) -> float:
        """Length of the reel so far."""
        return self._filled_s

    @property
    def full(self) -> bool:
        """Whether no clip fits any more."""
        enough = self.most_clips is not None and sum(self._clips.values()) >= self.most_clips
        return enough or self.seconds - self._filled_s < SHORTEST * self.clip_s - SAME_S

    def lengths(self) -> Lengths:
        """Of the next clip; call while not `full`."""
        left_s = self.seconds - self._filled_s
        return Lengths(
            shortest_s=min(SHORTEST * self.clip_s, left_s),
            wanted_s=min(self.clip_s, left_s),
            longest_s=min(LONGEST * self.clip_s, left_s),
        )

    def used_up(self, media_id: str) -> bool:
        """Whether a title has all the clips that it may have."""
        return self._clips.get(media_id, 0) >= self.per_title

    def shown(self, uri: str) -> bool:
        """Whether anything of that file is in the reel."""
        return uri in self._taken

    def room(self, uri: str, segment: Span, duration_s: float | None) -> Span | None:
        """Where a clip of a segment may lie: around it, in the title, and where no other clip is.

        Around it: so far that a clip of the wanted length fits on either side with half of the segment in it.
        None where too little of the segment is free. By file and not by title: one may be in a library under
        two names.
        """
        reach_s = max(REACH_S, self.clip_s - segment.length_s / 2)
        reach = Span(
            max(segment.start_s - reach_s, 0.0),
            min(segment.end_s + reach_s, math.inf if duration_s is None else duration_s),
        )
        if reach.length_s <= 0:
            return None
        free = [reach]
        for taken in self._taken.get(uri, ()):
            free = [part for span in free for part in _without(span, taken)]
        best = max(free, key=segment.overlap_s, default=None)
        least_s = self.lengths().shortest_s
        return best if best is not None and best.length_s >= least_s - SAME_S else None

    def take(self, media_id: str, uri: str, span: Span, length_s: float) -> None:
        """A clip is in the reel, where it lasts `length_s`."""
        self._taken.setdefault(uri, []).append(span)
        self._clips[media_id] = self._clips.get(media_id, 0) + 1
        self._filled_s += length_s


def choose_cut(
    segment: Span, room: Span, lengths: Lengths, boundaries_s: Iterable[float], seen_s: Sequence[float] = ()
) -> Cut | None:
    """The clip of a segment: of all that could be, the one with the least cost (`COST_START` and so on).

    It begins and ends at boundaries where it can without becoming too short or too long; within one long
    shot it lies around a frame that was looked at, or in the middle.

    Args:
        room: where it may lie. boundaries_s: first frames of shots there.
        seen_s: times of the segment's frames that its vector was made of. A clip of a segment of several
            shots should show one of them.
    """
    inside = sorted({b for b in boundaries_s if room.start_s - SAME_S <= b <= room.end_s + SAME_S})
    wanted_s = lengths.wanted_s
    middle_s = (segment.start_s + segment.end_s - wanted_s) / 2
    starts = [*inside, *(b - wanted_s for b in inside), middle_s, *(t - wanted_s / 2 for t in seen_s)]
    if room.end_s < math.inf:
        starts.append(room.end_s - wanted_s)
    best: tuple[float, float, Cut] | None = None
    for start_s in (min(max(start, room.start_s), room.end_s) for start in starts):
        for end_s in (*inside, start_s + wanted_s, start_s + lengths.shortest_s):
            length_s = end_s - start_s
            if end_s > room.end_s + SAME_S or not (
                lengths.shortest_s - SAME_S <= length_s <= lengths.longest_s + SAME_S
            ):
                continue
            cut = Cut(Span(start_s, end_s), _is_at(start_s, inside), _is_at(end_s, inside))
            cost = _cost(cut, segment, wanted_s, inside, seen_s)
            if best is None or (cost, start_s) < best[:2]:
                best = (cost, start_s, cut)
    return best[2] if best is not None else None


def _cost(
    cut: Cut, segment: Span, wanted_s: float, boundaries_s: Sequence[float], seen_s: Sequence[float]
) -> float:
    span = cut.span
    cost = abs(span.length_s - wanted_s) / wanted_s
    cost += 1 - span.overlap_s(segment) / span.length_s
    within = [b for b in boundaries_s if span.start_s + SAME_S < b < span.end_s - SAME_S]
    if not cut.start_at_shot:
        cost += COST_START + COST_SLIVER * any(b - span.start_s < SLIVER_S for b in within)
    if not cut.end_at_shot:
        cost += COST_END + COST_SLIVER * any(span.end_s - b < SLIVER_S for b in within)
    seen = [t for t in seen_s if segment.start_s <= t <= segment.end_s]
    if seen and not any(span.start_s - SAME_S <= t < span.end_s for t in seen):
        cost += COST_UNSEEN
    return cost


def _is_at(time_s: float, boundaries_s: Sequence[float]) -> bool:
    return any(abs(time_s - b) <= SAME_S for b in boundaries_s)


def _without(span: Span, taken: Span) -> list[Span]:
    if span.overlap_s(taken) <= 0:
        return [span]
    parts = [Span(span.start_s, taken.start_s), Span(taken.end_s, span.end_s)]
    return [part for part in parts if part.length_s > 0]
