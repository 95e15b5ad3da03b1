"""Melodies found by their pitch contours, in another key, at another tempo, whatever sings them.

Subsequence dynamic time warping (Müller, Fundamentals of Music Processing, 2015, 7.2) of a hum's contour over
the contours of a library. Key: pitches are compared in a few transpositions, those in which the hum's pitch
classes fit best. Tempo: the path advances by (1, 1), (1, 2) or (2, 1) steps, half to twice the hum's tempo.
Octaves are folded: a pitch tracker takes one for another easily, and people hum where their voice is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from librosa.sequence import dtw
from numpy.typing import NDArray

from resonance.clients.discovery.contours import Track
from resonance.clients.errors import UsageError
from resonance.clients.media.types import FloatArray

#: Pitch classes are compared in quarters of a semitone.
BINS_A_SEMITONE = 4
_BINS = 12 * BINS_A_SEMITONE
#: Codes of a step without a pitch, and of what parts two pieces: no path leads across it.
_UNVOICED, _WALL = _BINS, _BINS + 1
_WALL_COST = 1e6
#: Steps of a path, (of the hum, of the library). A step over two of the hum's pitches costs twice, so that a
#: path's cost over the hum's length is the mean over its pitches.
_STEPS = np.array([[1, 1], [1, 2], [2, 1]])
_STEP_WEIGHTS = np.array([1.0, 1.0, 2.0])
#: Semitones added to a step that leaves out one of either side, so that of places which fit alike the whole
#: note counts and not a part of it. As much as 0.05 changed no recall in the world of docs/hum.md, 0.2 did.
_STEP_COSTS = np.array([0.0, 0.05, 0.05])
#: Two walls side by side stop a path that advances by two.
_WALLS = 2
#: A pitch that is further off than this is simply wrong, semitones.
MOST_OFF = 1.5
#: What a pitch costs where the library has none, semitones.
UNVOICED_OFF = 1.2
#: Transpositions tried of each piece.
TRANSPOSITIONS = 3
#: Columns of the library that are warped at once: 40 MB of a hum of 80 steps.
_COLUMNS_AT_ONCE = 1 << 15
#: A hum needs so many steps with a pitch: three notes or so.
LEAST_STEPS = 10


@dataclass(frozen=True, slots=True)
class MelodyHit:
    """The place of a title that a hum fits best.

    Attributes:
        start_s, end_s: of the place, in the title.
        off_semitones: mean distance of the hum's pitches from it, each at most `MOST_OFF`, and a little for
            each change of tempo.
        transposed_semitones: how far the title lies above the hum, -6 to 6: octaves do not count.
        tempo: how much faster the title is than the hum.
    """

    media_id: str
    start_s: float
    end_s: float
    off_semitones: float
    transposed_semitones: float
    tempo: float


@dataclass(frozen=True, slots=True)
class _Piece:
    """Steps `first` to `end` of a track."""

    track: int
    first: int
    end: int


class MelodyIndex:
    """Contours of a library, to look for hums in. Holds a byte a step beside the tracks.

    Args:
        hop_s: time between two steps, of tracks and hums alike.
    """

    def __init__(self, tracks: Sequence[Track], hop_s: float) -> None:
        self._tracks, self._hop_s = tracks, hop_s
        self._codes = [_coded(held(track.pitches)) for track in tracks]

    def find(self, hum: FloatArray, *, limit: int = 10) -> list[MelodyHit]:
        """The best place of each title, best title first.

        Args:
            hum: float32 [steps], semitones, NaN where there is no pitch.

        Raises:
            UsageError: too few pitches to find anything by.
        """
        pitches = sung(hum)
        found = sorted(self._best(pitches).values(), key=lambda match: match[0])[:limit]
        return [self._placed(pitches, *match) for match in found]

    def distances(self, hum: FloatArray) -> dict[str, float]:
        """`MelodyHit.off_semitones` of the best place of each title that has one; see `find`."""
        return {name: off for name, (off, _, _) in self._best(sung(hum)).items()}

    def _best(self, pitches: FloatArray) -> dict[str, tuple[float, _Piece, int]]:
        best: dict[str, tuple[float, _Piece, int]] = {}
        for piece, off, shift in self._matches(pitches):
            name = self._tracks[piece.track].media_id
            if name not in best or off < best[name][0]:
                best[name] = (off, piece, shift)
        return best

    def _matches(self, pitches: FloatArray) -> Iterator[tuple[_Piece, float, int]]:
        """Each piece that the hum fits into, how far off it is there, and in which transposition, in bins."""
        profile = _profile(pitches)
        for pieces in _together(self._pieces(len(pitches))):
            codes = [self._codes[p.track][p.first : p.end] for p in pieces]
            lengths = np.array([len(c) for c in codes])
            shifts = _best_shifts(profile, codes)  # (P, K)
            least = np.full(len(pieces), np.inf)
            chosen = np.zeros(len(pieces), np.int64)
            starts = np.cumsum(lengths + _WALLS) - lengths - _WALLS
            for shift in shifts.T:
                row = _last_row(pitches, _joined(codes, shift))
                off = np.minimum.reduceat(row, starts) / len(pitches)  # walls are far above any place
                better = off < least
                least[better], chosen[better] = off[better], shift[better]
            for piece, off_semitones, shift_bins in zip(pieces, least, chosen, strict=True):
                if off_semitones < UNVOICED_OFF:  # else silence fits as well
                    yield piece, float(off_semitones), int(shift_bins)

    def _pieces(self, steps: int) -> Iterator[_Piece]:
        """Tracks cut to two and a half times the hum's length, a hum's length apart, each with its own key.

        A place of up to one and a half times the hum's length lies whole in one of them. Longer pieces hold
        more that is not the melody, and its key is told less well.
        """
        most = 5 * steps // 2
        for track, codes in enumerate(self._codes):
            first = 0
            while True:
                end = min(first + most, len(codes))
                if 2 * (end - first) >= steps:  # else not even at twice the tempo
                    yield _Piece(track, first, end)
                if end == len(codes):
                    break
                first += steps

    def _placed(self, pitches: FloatArray, off: float, piece: _Piece, shift: int) -> MelodyHit:
        codes = self._codes[piece.track][piece.first : piece.end]
        # librosa turns the path round where the hum is the longer of the two
        short = max(len(pitches) - len(codes), 0)
        cost = _costs(pitches, np.concatenate([_shifted(codes, shift), np.full(short, _WALL, np.uint8)]))
        _, path = dtw(
            C=cost,
            step_sizes_sigma=_STEPS,
            weights_mul=_STEP_WEIGHTS,
            weights_add=_STEP_COSTS,
            subseq=True,
            backtrack=True,
        )
        first, last = int(path[-1, 1]), int(path[0, 1])  # it is told from its end
        track = self._tracks[piece.track]
        start_s = track.start_s + (piece.first + first) * self._hop_s
        half = _BINS // 2
        return MelodyHit(
            media_id=track.media_id,
            start_s=round(start_s, 3),
            end_s=round(start_s + (last - first + 1) * self._hop_s, 3),
            off_semitones=off,
            transposed_semitones=((-shift + half) % _BINS - half) / BINS_A_SEMITONE,
            tempo=len(pitches) / (last - first + 1),
        )


def sung(hum: FloatArray) -> FloatArray:
    """A hum from its first pitch to its last; pauses hold the pitch before them.

    Raises:
        UsageError: fewer than `LEAST_STEPS` pitches.
    """
    voiced = np.flatnonzero(~np.isnan(hum))
    if len(voiced) < LEAST_STEPS:
        raise UsageError(
            f"a hum with {len(voiced)} steps that have a pitch; expected at least {LEAST_STEPS}: "
            "some notes, sung or played alone"
        )
    return held(hum[voiced[0] : voiced[-1] + 1], most_steps=len(hum))


def held(pitches: FloatArray, *, most_steps: int = 3) -> FloatArray:
    """Pitches [n] with the one before it in each step without, at most `most_steps` in a row."""
    at = np.arange(len(pitches))
    last = np.maximum.accumulate(np.where(np.isnan(pitches), -1, at))
    known = (last >= 0) & (at - last <= most_steps)
    return np.where(known, pitches[last], np.float32(np.nan)).astype(np.float32)


def _coded(pitches: FloatArray) -> NDArray[np.uint8]:
    """Pitch classes in bins, [n]."""
    voiced = ~np.isnan(pitches)
    codes = np.full(len(pitches), _UNVOICED, np.uint8)
    codes[voiced] = np.rint(pitches[voiced] * BINS_A_SEMITONE).astype(np.int64) % _BINS
    return codes


def _shifted(codes: NDArray[np.uint8], shift: int) -> NDArray[np.uint8]:
    return np.where(codes < _BINS, (codes.astype(np.int64) + shift) % _BINS, codes).astype(np.uint8)


def _joined(codes: Sequence[NDArray[np.uint8]], shifts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pieces one after another, each transposed by its own shift in bins, walls after each."""
    wall = np.full(_WALLS, _WALL, np.uint8)
    parts = [part for c, s in zip(codes, shifts, strict=True) for part in (_shifted(c, int(s)), wall)]
    return np.concatenate(parts)


def _costs(pitches: FloatArray, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Distances in semitones [n, m] of a hum's pitches [n] from a library's codes [m]."""
    classes = np.arange(_BINS) / BINS_A_SEMITONE
    off = np.abs((pitches[:, None] - classes + 6) % 12 - 6)  # (n, 48)
    table = np.empty((len(pitches), _BINS + 2))
    table[:, :_BINS] = np.minimum(off, MOST_OFF)
    table[:, _UNVOICED], table[:, _WALL] = UNVOICED_OFF, _WALL_COST
    return np.take(table, codes, axis=1)


def _last_row(pitches: FloatArray, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The least cost of a path that ends at each step of a library, [m]."""
    sums = dtw(
        C=_costs(pitches, codes),
        step_sizes_sigma=_STEPS,
        weights_mul=_STEP_WEIGHTS,
        weights_add=_STEP_COSTS,
        subseq=True,
        backtrack=False,
    )
    return cast(NDArray[np.float64], sums[-1])


def _profile(pitches: FloatArray) -> NDArray[np.float64]:
    """How much of a hum lies at each pitch class, [48], blurred by half a semitone."""
    counts = np.bincount(_coded(pitches), minlength=_BINS)[:_BINS].astype(np.float64)
    near = np.minimum(np.arange(_BINS), _BINS - np.arange(_BINS)) / BINS_A_SEMITONE
    blur = np.exp(-0.5 * (near / 0.5) ** 2)
    return np.fft.irfft(np.fft.rfft(counts) * np.fft.rfft(blur), _BINS)


def _best_shifts(profile: NDArray[np.float64], codes: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Transpositions of each piece in which it has most of the hum's pitches, a semitone apart, [P, K]."""
    counts = np.stack([np.bincount(c, minlength=_BINS + 1)[:_BINS] for c in codes])  # (P, 48)
    # fit[s] = sum over bins of counts[b] profile[b + s]
    fit = np.fft.irfft(np.conj(np.fft.rfft(counts, axis=1)) * np.fft.rfft(profile), _BINS, axis=1)
    apart = np.arange(_BINS)
    chosen = []
    for _ in range(TRANSPOSITIONS):
        best = fit.argmax(axis=1)  # (P,)
        chosen.append(best)
        distance = np.abs((apart[None] - best[:, None] + _BINS // 2) % _BINS - _BINS // 2)
        fit = np.where(distance < BINS_A_SEMITONE, -np.inf, fit)
    return np.stack(chosen, axis=1)


def _together(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    """As many at a time as are warped at once."""
    batch: list[_Piece] = []
    columns = 0
    for piece in pieces:
        batch.append(piece)
        columns += piece.end - piece.first + _WALLS
        if columns >= _COLUMNS_AT_ONCE:
            yield batch
            batch, columns = [], 0
    if batch:
        yield batch
