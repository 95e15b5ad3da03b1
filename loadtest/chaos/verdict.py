"""Whether what a job kept of a title is what an undisturbed run gives: nothing lost, nothing doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from resonance.loadtest.chaos.journal import Kept
from resonance.v1 import embedding_pb2 as pb

#: Largest absolute difference of vectors and salience; of signals and axes, relative to values above 1.
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, in words, and the largest absolute difference of any vector, the title's among them."""

    faults: tuple[str, ...]
    worst: float


def judge(found: Kept, expected: Kept) -> Verdict:
    """Compare two journals of one title."""
    indices = [s.index for s in found.segments]
    wanted = [s.index for s in expected.segments]
    faults = []
    if indices != wanted:
        doubled = [i for i, times in Counter(indices).items() if times > 1]
        lost = sorted(set(wanted) - set(indices))
        more = sorted(set(indices) - set(wanted))
        faults.append(f"indices: lost {lost}, doubled {doubled}, not expected {more}, or not in order")
    if len(found.titles) != 1:
        faults.append(f"{len(found.titles)} titles; expected one")
    by_index = {s.index: s for s in expected.segments}
    worst = 0.0
    for segment in found.segments:
        if segment.index not in by_index:
            continue
        off, told = _segment_differences(segment, by_index[segment.index])
        worst = max(worst, off)
        faults += [f"segment {segment.index}: {what}" for what in told]
    if found.titles and expected.titles:
        off, told = _title_differences(found.titles[0], expected.titles[0])
        worst = max(worst, off)
        faults += [f"title: {what}" for what in told]
    return Verdict(tuple(faults), worst)


def _segment_differences(found: pb.Segment, expected: pb.Segment) -> tuple[float, list[str]]:
    worst, told = _vectors(found.vector, expected.vector)
    told += [
        f"{name} {getattr(found, name)}; expected {getattr(expected, name)}"
        for name in ("start_s", "end_s", "present", "sampled_by", "frame_times_s")
        if getattr(found, name) != getattr(expected, name)
    ]
    signals = ({n: s.value for n, s in m.signals.items()} for m in (found, expected))
    told += _values("signals", *signals)
    told += _values("axes", dict(found.axes), dict(expected.axes))
    return worst, told


def _title_differences(found: pb.Title, expected: pb.Title) -> tuple[float, list[str]]:
    worst, told = _vectors(found.vector, expected.vector)
    told += [
        f"{name} {getattr(found, name)}; expected {getattr(expected, name)}"
        for name in ("fingerprint", "present", "duration_s", "first_index")
        if getattr(found, name) != getattr(expected, name)
    ]
    told += _values("salience", _numbered(found.salience), _numbered(expected.salience))
    told += _values("axes", *({n: a.value for n, a in m.axes.items()} for m in (found, expected)))
    arcs = (
        {f"{n}[{i}].{k}": v for n, a in m.arcs.items() for i, p in enumerate(a.points) for k, v in _point(p)}
        for m in (found, expected)
    )
    return worst, told + _values("arcs", *arcs)


def _point(point: pb.ArcPoint) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("time_s", point.time_s), ("value", point.value)


def _vectors(found: Iterable[float], expected: Iterable[float]) -> tuple[float, list[str]]:
    a, b = np.array(found, np.float64), np.array(expected, np.float64)
    if a.shape != b.shape:
        return float("inf"), [f"a vector of {a.size}; expected {b.size}"]
    worst = float(np.abs(a - b).max())
    return worst, [f"vector differs by {worst:.2g}"] if not worst <= TOLERANCE else []


def _numbered(values: Iterable[float]) -> dict[str, float]:
    return {str(i): value for i, value in enumerate(values)}


def _values(what: str, found: dict[str, float], expected: dict[str, float]) -> list[str]:
    if found.keys() != expected.keys():
        return [f"{what} {sorted(found)}; expected {sorted(expected)}"]
    off = {n: abs(v - expected[n]) / max(1.0, abs(expected[n])) for n, v in found.items()}
    name = max(off, key=lambda n: off[n], default="")
    return [f"{what} {name} differs by {off[name]:.2g}"] if name and not off[name] <= TOLERANCE else []
