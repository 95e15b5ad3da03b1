"""Titles whose arcs have a wanted shape, by dynamic time warping over stored arcs.

Each arc is brought to equal steps between its first and its last known point, so that a clip and a film
compare; then to its shape (`resonance.clients.discovery.arc_shapes.shape_of`). The distance is the root mean
square of the differences along the best warping path: 0 is the same shape, 1 what an arc that does not move
has to any shape, 2 its mirror image without warping.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice

import numpy as np
from dtaidistance import dtw

from resonance.clients.discovery.arc_shapes import HARDLY_MOVES, POINTS, shape_of
from resonance.clients.discovery.reading import known_title
from resonance.clients.discovery.types import Filter, Library, TitleFacts
from resonance.clients.errors import UsageError
from resonance.space.arcs import Arc, FloatArray, resample_to
from resonance.space.errors import ArcError

#: An arc's points by name, as they are stored.
Points = Sequence[tuple[float, float | None]]
StoredArcs = Mapping[str, Points]
#: How far a moment may be moved to match, as a share of the title: chosen by what docs/arcs.md has measured.
WARPING = 0.1
#: Fewer known points have no shape.
LEAST_POINTS = 3
#: An arc is torn where nothing is known for this share of the title, and for this many of its usual steps.
TORN_SHARE, TORN_STEPS = 0.25, 3.0
#: Arcs compared at once: 4,096 curves are 2 MB.
_AT_ONCE = 4096


class Unusable(StrEnum):
    """Why an arc has no shape."""

    ABSENT = "absent"  # the title has no such arc, or not one known point of it
    SHORT = "short"  # fewer known points than `LEAST_POINTS`
    TORN = "torn"  # a large part of it is not known
    BROKEN = "broken"  # times that do not rise, or infinite values


class UnusableArcError(UsageError):
    """An arc has no shape: `reason` says why."""

    def __init__(self, reason: Unusable, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class ArcHit:
    """A title found.

    Attributes:
        distance: the mean of `distances`, one a wanted arc by name.
        arcs: those arcs as they are stored, (time_s, value in 0..1).
    """

    facts: TitleFacts
    distance: float
    distances: Mapping[str, float]
    arcs: Mapping[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class ArcsFound:
    """Hits, nearest first; how many titles were compared, and how many could not be, by reason."""

    hits: list[ArcHit]
    compared: int
    left_out: Mapping[Unusable, int]


def find_arcs(
    library: Library, wanted: Mapping[str, FloatArray], *, limit: int = 10, only: Filter | None = None
) -> ArcsFound:
    """The titles whose arcs come nearest to the wanted shapes, nearest first; several arcs count alike.

    Args:
        wanted: shapes [POINTS] by arc, of `named_shape`, `drawn_shape` or `shapes_like`.

    Raises:
        UsageError: a limit below 1, nothing wanted, or an arc that no title has.
        StoreError: the store cannot be read.
    """
    if limit < 1 or not wanted:
        raise UsageError(f"limit {limit}, {len(wanted)} arcs; expected at least 1 of each")
    scan = _Scan(tuple(wanted))
    takes = _taker(library, only or Filter())
    curves = scan.curves((media_id, arcs) for media_id, arcs in library.arcs() if takes(media_id))
    media_ids, distances = _compared(curves, wanted)
    missing = [name for name in wanted if name not in scan.met]
    if missing and scan.met:
        raise UsageError(
            f"no title that was looked at in {library.uri} has an arc '{missing[0]}'; expected one of "
            f"{', '.join(sorted(scan.met))}"
        )
    mean = distances.mean(axis=1)  # (n,)
    best = np.argsort(mean, kind="stable")[:limit]
    names = [media_ids[at] for at in best]
    facts, arcs = {found.media_id: found for found in library.facts(names)}, dict(library.arcs(names))
    hits = [
        ArcHit(
            facts=facts[media_id],
            distance=float(mean[at]),
            distances=dict(zip(wanted, distances[at].tolist(), strict=True)),
            arcs={name: arcs[media_id][name] for name in wanted},
        )
        for at, media_id in zip(best, names, strict=True)
        if media_id in facts and media_id in arcs  # else it was removed meanwhile
    ]
    return ArcsFound(hits, len(media_ids), scan.left_out)


def shapes_like(library: Library, media_id: str, names: Collection[str]) -> dict[str, FloatArray]:
    """The shapes [POINTS] of a title's own arcs, to find titles that run like it.

    Raises:
        UsageError: the library has no such title, or the title no such arc, or one without a shape.
        StoreError: the store cannot be read.
    """
    title = known_title(library, media_id)
    try:
        curves = {name: curve_of(title.arcs, name) for name in names}
    except UnusableArcError as error:
        raise UsageError(f"title '{media_id}': {error}") from error
    return {name: shape_of(curve, hardly_moves=HARDLY_MOVES) for name, curve in curves.items()}


def curve_of(arcs: StoredArcs, name: str) -> FloatArray:
    """One of a title's arcs at equal steps from its first to its last known point, [POINTS].

    Raises:
        UnusableArcError: there is no such arc, or it has no shape.
    """
    stored = np.array(arcs.get(name, ()), np.float64).reshape(-1, 2)  # (n, 2), NaN for None
    try:
        known = Arc(stored[:, 0], stored[:, 1]).known()
    except ArcError as error:
        raise UnusableArcError(Unusable.BROKEN, f"arc '{name}': {error}") from error
    times_s = known.times_s
    if not times_s.size:
        # what a title lacks may be stored as an arc without a point: a sound has no brightness
        others = ", ".join(sorted(other for other, points in arcs.items() if points and other != name))
        raise UnusableArcError(Unusable.ABSENT, f"no arc '{name}'; expected one of {others or 'none'}")
    if times_s.size < LEAST_POINTS:
        raise UnusableArcError(
            Unusable.SHORT, f"arc '{name}' has {times_s.size} known points; expected at least {LEAST_POINTS}"
        )
    # the title lasts as long as any of its arcs is known
    start_s = min(points[0][0] for points in arcs.values() if points)
    end_s = max(points[-1][0] for points in arcs.values() if points)
    longest_s = float(np.diff(times_s, prepend=start_s, append=end_s).max())
    usual_s = float(np.sort(np.diff(times_s))[(times_s.size - 2) // 2])  # the median, of two the lower
    if longest_s > max(TORN_SHARE * (end_s - start_s), TORN_STEPS * usual_s):
        raise UnusableArcError(
            Unusable.TORN,
            f"nothing is known of arc '{name}' for {longest_s:.0f} of {end_s - start_s:.0f} s; "
            f"expected gaps of at most a quarter",
        )
    return resample_to(known, POINTS).values


def distances_to(wanted: FloatArray, curves: FloatArray, *, warping: float = WARPING) -> FloatArray:
    """Distances of one shape [POINTS] to others [n, POINTS], float64 [n].

    The wanted shape is warped by at most `warping` of the time, in the band of Sakoe and Chiba (IEEE
    Transactions on Acoustics, Speech and Signal Processing 26 (1978)).
    """
    series = np.vstack([wanted, curves])  # (1 + n, POINTS)
    found = dtw.distance_matrix(
        series,
        block=((0, 1), (1, len(series))),
        compact=True,
        use_c=True,
        window=1 + round(warping * POINTS),  # dtaidistance counts the diagonal
    )
    return np.asarray(found, np.float64) / math.sqrt(POINTS)


def _taker(library: Library, only: Filter) -> Callable[[str], bool]:
    """Whether a filter takes a title, by its name."""
    if replace(only, excluded=frozenset()) == Filter():
        return lambda media_id: media_id not in only.excluded
    taken = {facts.media_id for facts in library.facts() if only.takes(facts)}
    return taken.__contains__


def _compared(
    titles: Iterator[tuple[str, FloatArray]], wanted: Mapping[str, FloatArray]
) -> tuple[list[str], FloatArray]:
    """Names [n] and distances [n, A] of titles with their curves [A, POINTS], A in the order of `wanted`."""
    media_ids: list[str] = []
    parts: list[FloatArray] = [np.zeros((0, len(wanted)))]
    while chunk := list(islice(titles, _AT_ONCE)):
        media_ids += [media_id for media_id, _ in chunk]
        shapes = shape_of(np.stack([curves for _, curves in chunk]), hardly_moves=HARDLY_MOVES)
        found = [distances_to(shape, shapes[:, at]) for at, shape in enumerate(wanted.values())]
        parts.append(np.stack(found, axis=1))
    return media_ids, np.concatenate(parts)


@dataclass(slots=True)
class _Scan:
    """What one pass over a library met. `met`: names of arcs; `left_out`: titles by reason."""

    names: tuple[str, ...]
    met: set[str] = field(default_factory=set)
    left_out: Counter[Unusable] = field(default_factory=Counter)

    def curves(self, titles: Iterable[tuple[str, StoredArcs]]) -> Iterator[tuple[str, FloatArray]]:
        """Curves [A, POINTS] of each title that has them all."""
        for media_id, arcs in titles:
            self.met.update(name for name, points in arcs.items() if points)
            try:
                yield media_id, np.stack([curve_of(arcs, name) for name in self.names])
            except UnusableArcError as unusable:
                self.left_out[unusable.reason] += 1
