"""Whether a store is what it should be: each title once and whole, unit vectors, one space; how it drifts.

Read as a stream, so memory does not grow with the store: names seen are kept in a temporary database on
disk, and of vectors only sums.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import Store
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH

#: A vector of float32 is of unit norm to about 1e-7; more than this is another thing.
NORM_TOLERANCE = 1e-3
#: Saliences of a title sum to 1.
SALIENCE_TOLERANCE = 1e-3
_EXAMPLES = 5
#: Equal bins of an axis' 0..1 for the population stability index.
_BINS = 10
#: The usual reading of the index in credit scoring (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 no
#: change, above 0.25 a large one.
LARGE_PSI = 0.25

Doubles = NDArray[np.float64]


@dataclass(slots=True)
class Tally:
    """How often something was found, and where for example."""

    count: int = 0
    for_example: list[str] = field(default_factory=list)

    def add(self, where: str, times: int = 1) -> None:
        """Count `times` more."""
        self.count += times
        if times and len(self.for_example) < _EXAMPLES:
            self.for_example.append(where)


@dataclass(slots=True)
class Faults:
    """What is wrong, by its kind."""

    kinds: dict[str, Tally] = field(default_factory=dict)

    def add(self, kind: str, where: str, times: int = 1) -> None:
        """Count `times` more."""
        if times:
            self.kinds.setdefault(kind, Tally()).add(where, times)


@dataclass(slots=True, eq=False)
class Profile:
    """How the titles of a store lie in the space.

    Attributes:
        sums: float64 [3, 596], of the blocks of all titles. present: titles that have each modality.
        axes: titles by bin of each axis, int [10]. damaged: titles whose media could not be read in full.
    """

    titles: int = 0
    segments: int = 0
    media_s: float = 0.0
    sums: Doubles = field(default_factory=lambda: np.zeros((len(MODALITIES), BLOCK_WIDTH)))
    present: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(MODALITIES), np.int64))
    axes: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    damaged: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a store lies from a reference.

    Attributes:
        cosine: of the mean blocks, by modality. psi: population stability index by axis.
    """

    cosine: dict[str, float]
    psi: dict[str, float]

    @property
    def large(self) -> list[str]:
        """Axes that moved much."""
        return [name for name, value in self.psi.items() if value > LARGE_PSI]


class _Names:
    """Names on disk; SQLite spills what its cache of 2 MB does not hold."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, name: str) -> bool:
        """Whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO names VALUES (?)", (name,)).rowcount == 1


@contextmanager
def _no_names() -> Iterator[_Names]:
    with closing(sqlite3.connect("")) as database:  # a file of its own that is gone with the connection
        yield _Names(database)


def examine(store: Store) -> tuple[Profile, Faults]:
    """Look at every title of a store that was opened leniently. Blocks.

    Raises:
        StoreError: it cannot be read.
    """
    profile, faults = Profile(), Faults()
    with _no_names() as seen:
        for batch in store.titles():
            _vectors(batch, profile, faults)
            for row, segments in zip(
                batch.select(["media_id", "duration_s", "present", "axes", "damage"]).to_pylist(),
                batch["segments"],
                strict=True,
            ):
                media_id = row["media_id"]
                faults.add("title stored twice", media_id, not seen.add(media_id))
                profile.titles += 1
                profile.media_s += row["duration_s"] or 0.0
                profile.damaged.add(media_id, row["damage"] is not None)
                profile.present += [row["present"][m] for m in MODALITIES]
                faults.add("title without any modality", media_id, not any(row["present"].values()))
                for name, value in row["axes"] or ():
                    _axis(name, value["value"], media_id, profile, faults)
                _segments(media_id, segments.values, profile, faults)
    for found in store.faults():
        faults.add(found.kind, found.where)
    return profile, faults


def _axis(name: str, value: float | None, media_id: str, profile: Profile, faults: Faults) -> None:
    if value is None or not 0 <= value <= 1:  # not a number is neither
        faults.add(f"axis {name} outside 0 to 1", media_id)
        return
    bins = profile.axes.setdefault(name, np.zeros(_BINS, np.int64))
    bins[min(int(value * _BINS), _BINS - 1)] += 1


def _vectors(batch: pa.RecordBatch, profile: Profile, faults: Faults) -> None:
    vectors = _matrix(batch["vector"])  # (N, 1788)
    for media_id, fault in zip(batch["media_id"].to_pylist(), _wrong(vectors), strict=True):
        if fault:
            faults.add(f"title vector {fault}", media_id)
    finite = np.where(np.isfinite(vectors), vectors, 0.0)
    profile.sums += finite.sum(axis=0).reshape(len(MODALITIES), BLOCK_WIDTH)  # (3, 596)


def _segments(media_id: str, segments: pa.StructArray | None, profile: Profile, faults: Faults) -> None:
    if segments is None or not len(segments):
        faults.add("title without segments", media_id)
        return
    profile.segments += len(segments)
    for fault in _wrong(_matrix(segments.field("vector"))):
        if fault:
            faults.add(f"segment vector {fault}", media_id)
    index, start_s, end_s, salience = (
        segments.field(name).to_numpy(zero_copy_only=False).astype(np.float64)  # NaN where there is none
        for name in ("index", "start_s", "end_s", "salience")
    )
    disordered = bool((np.diff(index) <= 0).any() or (np.diff(start_s) < 0).any() or (end_s < start_s).any())
    faults.add("segments out of order or twice", media_id, disordered)
    whole = bool(abs(salience.sum() - 1) <= SALIENCE_TOLERANCE)
    faults.add("saliences that do not sum to 1: segments missing", media_id, not whole)


def _matrix(column: pa.Array) -> Doubles:
    """Float64 [N, 1788]; none is null, for such a list of fixed size Parquet's reader refuses."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    vectors: Doubles = flat.astype(np.float64).reshape(len(column), TITLE_WIDTH)  # (N, 1788)
    return vectors


def _wrong(vectors: Doubles) -> list[str]:
    """What is wrong with each vector; empty where nothing is."""
    norms = np.linalg.norm(vectors, axis=1)  # (N,)
    return [
        "not finite"
        if not np.isfinite(norm)
        else "all zero"
        if norm == 0
        else "not of unit norm"
        if abs(norm - 1) > NORM_TOLERANCE
        else ""
        for norm in norms
    ]


def drift(profile: Profile, reference: Profile) -> Drift:
    """How far the titles of `profile` lie from those of `reference`, a profile of the same space.

    The cosine of the mean blocks shows that the catalogue as a whole, or what an encoder makes of it, has
    moved; a share of titles that went from one end of an axis to the other may leave the mean where it is.
    So axes are compared as distributions, by the population stability index: sum((p - q) ln(p / q)) over the
    bins of an axis, each count one larger so that an empty bin is no infinity. (Fréchet's distance would want
    covariances of 596 x 596 from more titles than a night's catalogue has.)

    Raises:
        UsageError: one of them has no title.
    """
    if not profile.titles or not reference.titles:
        raise UsageError("a store without titles cannot be compared; expected at least one in each")
    cosine = {
        name: float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
        for name, a, b in zip(MODALITIES, profile.sums, reference.sums, strict=True)
    }
    psi = {}
    for name in sorted(profile.axes.keys() & reference.axes.keys()):
        p, q = ((bins + 1) / (bins.sum() + _BINS) for bins in (profile.axes[name], reference.axes[name]))
        psi[name] = float(((p - q) * np.log(p / q)).sum())
    return Drift(cosine, psi)
