"""Arcs of how a title feels, from measured signals: pacing, energy, brightness.

Nothing is learned here: each signal is put on 0..1 by a stated range, and an arc is the weighted mean
of the signals it is made of that are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resonance.space.arcs import Arc, smooth

#: Standard deviation of the smoothing in seconds: half a segment, so a neighbour counts a seventh.
SMOOTHING_S = 4.0


@dataclass(frozen=True, slots=True)
class Part:
    """One signal of an arc: `low` maps to 0 and `high` to 1, what lies outside is clipped."""

    signal: str
    low: float
    high: float
    weight: float = 1.0
    logarithmic: bool = False

    def level(self, value: float) -> float:
        """`value` on 0..1."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return min(max((value - low) / (high - low), 0.0), 1.0)


#: Ranges of everyday material: a calm film cuts 4 times a minute and a trailer 60; speech runs at 2 to 3
#: words a second; mixed sound lies between -50 and -10 dBFS.
ARCS: Mapping[str, tuple[Part, ...]] = {
    "pacing": (
        Part("cut_rate_per_min", 1.0, 60.0, weight=2.0, logarithmic=True),
        Part("motion", 0.0, 1.0),
        Part("words_per_second", 0.0, 4.0),
        Part("onset_rate_hz", 0.0, 6.0),
    ),
    "energy": (
        Part("loudness_dbfs", -50.0, -10.0, weight=2.0),
        Part("motion", 0.0, 1.0),
        Part("onset_rate_hz", 0.0, 6.0),
        Part("spectral_centroid_hz", 200.0, 5000.0, weight=0.5, logarithmic=True),
    ),
    "brightness": (Part("brightness", 0.0, 1.0),),
}


def make_arcs(
    segments: Sequence[tuple[float, Mapping[str, float | None]]],
) -> dict[str, list[tuple[float, float]]]:
    """Arcs by name as (time_s, value in 0..1) points.

    Args:
        segments: (time in the title in seconds, signals by name), times rising. A signal that is None
            or missing does not count; where none of an arc's signals is known the arc has no point.

    Raises:
        ArcError: times do not rise.
    """
    times_s = [t for t, _ in segments]
    arcs = {}
    for name, parts in ARCS.items():
        arc = Arc.of(times_s, [_level(parts, signals) for _, signals in segments])
        arcs[name] = smooth(arc, SMOOTHING_S).points()
    return arcs


def _level(parts: Sequence[Part], signals: Mapping[str, float | None]) -> float | None:
    """Weighted mean of the known parts."""
    known = [(p.weight, p.level(value)) for p in parts if (value := signals.get(p.signal)) is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * level for weight, level in known) / total if known else None
