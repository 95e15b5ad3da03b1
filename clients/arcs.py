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
#: Points further apart than this many seconds are not joined: there was nothing to measure between.
GAP_S = 20.0


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


#: What "calm" and "intense" are for each signal, and how much it counts.
ARCS: Mapping[str, tuple[Part, ...]] = {
    "pacing": (
        # Shots of films last 3 to 12 s on average, by decade (Cutting, Brunick and DeLong, i-Perception 2
        # (2011): 5 to 20 cuts a minute); a trailer or a music video cuts once a second. Ratios are what
        # is felt, hence the logarithm: 1 a minute or none is 0, 8 are 0.5, 60 are 1.
        Part("cut_rate_per_min", 1.0, 60.0, weight=2.0, logarithmic=True),
        # the scale of the signal itself, see packet_signals
        Part("motion", 0.0, 1.0),
        # conversation runs at 2 to 3 words a second (Tauroza and Allison, Applied Linguistics 11 (1990))
        Part("words_per_second", 0.0, 4.0),
        # eighth notes at 120 beats a minute are 4 onsets a second, fast speech has 5 to 6 syllables
        Part("onset_rate_hz", 0.0, 6.0),
    ),
    "energy": (
        # a quiet room on a recording lies near -50 dBFS; dense mixes at -14 to -10 (streaming is levelled
        # to -23 to -14 LUFS, EBU R 128 s2)
        Part("loudness_dbfs", -50.0, -10.0, weight=2.0),
        Part("motion", 0.0, 1.0),
        Part("onset_rate_hz", 0.0, 6.0),
        # a dull hum to hiss and cymbals; pitch and timbre are heard in ratios
        Part("spectral_centroid_hz", 200.0, 5000.0, weight=0.5, logarithmic=True),
    ),
    # mean luma, already black to white
    "brightness": (Part("brightness", 0.0, 1.0),),
}


def make_arcs(
    segments: Sequence[tuple[float, Mapping[str, float | None]]],
) -> dict[str, list[tuple[float, float]]]:
    """Arcs by name as (time_s, value in 0..1) points.

    Args:
        segments: (time in the title in seconds, signals by name), times rising; a segment's time is its
            middle. A signal that is None, NaN or missing does not count; where none of an arc's signals
            is known the arc has no point.

    Raises:
        ArcError: times do not rise.
    """
    times_s = [t for t, _ in segments]
    arcs = {}
    for name, parts in ARCS.items():
        arc = Arc.of(times_s, [_level(parts, signals) for _, signals in segments])
        arcs[name] = smooth(arc, SMOOTHING_S).points()
    return arcs


def runs_of(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The parts of an arc within which (time_s, value) points are joined: gaps over `GAP_S` lie between."""
    runs: list[list[tuple[float, float]]] = []
    for point in points:
        if not runs or point[0] - runs[-1][-1][0] > GAP_S:
            runs.append([])
        runs[-1].append(point)
    return runs


def _level(parts: Sequence[Part], signals: Mapping[str, float | None]) -> float | None:
    """Weighted mean of the known parts, None where none is known."""
    known = [
        (part.weight, part.level(value))
        for part in parts
        if (value := signals.get(part.signal)) is not None and not math.isnan(value)
    ]
    total = sum(weight for weight, _ in known)
    # a mean of numbers up to 1 may round to more
    return min(sum(weight * level for weight, level in known) / total, 1.0) if known else None
