"""A viewer's taste: the history's titles in one query, the newer and the more wholly watched counting more.

The amount of a title is the sum over its viewings of

    recency * engagement,  recency = 2^(-age / half-life)

and the taste is `resonance.space.Blend` of the queries "like this title" with these amounts. It is linear in
them, so its scores split exactly into a part a title. Ages are counted from the newest viewing: counted from
any other moment all amounts would change by one factor, and the taste not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resonance.clients.discovery.browsing import all_spellings, spelling_in
from resonance.clients.discovery.errors import EmptyHistoryError
from resonance.clients.discovery.history import DISLIKE, LIKE, Viewing
from resonance.clients.discovery.types import Library
from resonance.clients.errors import UsageError
from resonance.clients.new_files import whole_file
from resonance.clients.results import SpaceRef
from resonance.space.blocks import FloatArray
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, Descriptor
from resonance.space.errors import BlockError
from resonance.space.scores import Query, own_sigmas, query_from_vector, require_same_space
from resonance.space.taste import Blend

#: Days after which a viewing counts half. Ratings of films over seven months were predicted best with about
#: 150 (Ardagelou and Arampatzis, "A Half-Life Decaying Model for Recommender Systems with Matrix
#: Factorization", 2017, CEUR-WS Vol-2038).
HALF_LIFE_DAYS = 150.0
#: Watched this far a title counts in full: what is left is credits (players that keep a flag for it set it at
#: 90%, so Blender's).
FINISHED = 0.9
#: Up to here a title counts nothing for: having seen less than half of a programme is no strong sign of
#: liking it (Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008,
#: leave such viewings out of what is to be predicted). It may also still be going on, so it counts nothing
#: against either.
UNDECIDED = 0.5
#: Left before this, a title counts against: a choice, some ten minutes of a film.
ABANDONED = 0.1
#: Of one that was left at once, as a share of one that was finished. Weak, since people also leave what they
#: like, when the doorbell rings: a choice, four of them outweigh one title.
ABANDONED_AMOUNT = -0.25

_FORMAT, _VERSION = "resonance-taste", 2
_EXPECTED = f"a file that `resonance taste --save` wrote, version {_VERSION}; save it again"


@dataclass(frozen=True, slots=True)
class Counted:
    """A title of the history, and its share of the whole: a_i / sum |a|, below 0 for "less like this"."""

    media_id: str
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Taste:
    """A taste: a query, and what it is made of.

    Attributes:
        sigmas: float64 [3], what the blocks of `query` are divided by (`own_sigmas`). They may change within
            a space; `load_taste` puts those of the day in their place.
        counted: the largest share first. unknown: titles of the history that the library does not have.
    """

    space: SpaceRef
    query: Query
    sigmas: FloatArray
    half_life_days: float
    counted: tuple[Counted, ...]
    unknown: tuple[str, ...] = ()


def engagement(viewing: Viewing) -> float:
    """What a viewing says of liking the title, from -1 to 1.

    What the viewer said counts in full, whatever was watched. Else it is 0 between `ABANDONED` and
    `UNDECIDED`, rises evenly to 1 at `FINISHED`, and falls evenly to `ABANDONED_AMOUNT` where nothing was
    watched.
    """
    if viewing.signal is not None:
        return {LIKE: 1.0, DISLIKE: -1.0}[viewing.signal]
    return engagement_of(viewing.completion or 0.0)


def engagement_of(seen: float) -> float:
    """The same of a viewing that says nothing, by the share watched, 0 to 1."""
    if seen < ABANDONED:
        return ABANDONED_AMOUNT * (1 - seen / ABANDONED)
    return min(max((seen - UNDECIDED) / (FINISHED - UNDECIDED), 0.0), 1.0)


def amounts(
    history: Sequence[Viewing],
    *,
    half_life_days: float = HALF_LIFE_DAYS,
    less_like: Collection[str] = (),
) -> dict[str, float]:
    """How much each title counts, in the order of the history; those that count nothing too.

    Args:
        less_like: titles that count as if they were disliked now, whatever the history says of them.

    Raises:
        UsageError: a half-life that is not above 0 and finite.
    """
    if not 0 < half_life_days < math.inf:
        raise UsageError(f"half-life of {half_life_days} days; expected more than 0, and finite")
    # two datetimes of one zone are subtracted as its clocks show them, which change twice a year
    at_s = [viewing.watched_at.timestamp() for viewing in history]
    newest_s = max(at_s, default=0.0)
    found: dict[str, float] = {}
    for viewing, then_s in zip(history, at_s, strict=True):
        age_days = (newest_s - then_s) / 86_400
        amount = engagement(viewing) * math.exp2(-age_days / half_life_days)
        found[viewing.media_id] = found.get(viewing.media_id, 0.0) + amount
    return found | dict.fromkeys(less_like, -1.0)


def make_taste(
    library: Library,
    descriptor: Descriptor,
    history: Sequence[Viewing],
    *,
    half_life_days: float = HALF_LIFE_DAYS,
    less_like: Collection[str] = (),
) -> tuple[Taste, Blend]:
    """The taste of a history, and the parts that its scores split into, in the order of `Taste.counted`.

    Blocks. Titles are known however their accents are written, and named as the library names them. Those
    that it does not have are left out and named in `Taste.unknown`.

    Raises:
        EmptyHistoryError: no title is left that counts anything.
        UsageError: a half-life that is not above 0, or a title to be less like that the library lacks.
        SpaceMismatchError: the library is of another space. StoreError: it cannot be read.
    """
    require_same_space(descriptor.fingerprint, library.space.fingerprint, library.uri)
    given = {*(viewing.media_id for viewing in history), *less_like}
    vectors = library.vectors(all_spellings(given))
    stored = {name: spelling_in(vectors, name) or name for name in given}
    viewings = [replace(viewing, media_id=stored[viewing.media_id]) for viewing in history]
    disliked = [stored[name] for name in less_like]
    wanted = amounts(viewings, half_life_days=half_life_days, less_like=disliked)
    queries = {name: query_from_vector(vectors[name], descriptor) for name in wanted if name in vectors}
    unknown = tuple(name for name in wanted if name not in queries)
    missing = [name for name in unknown if name in set(disliked)]
    if missing:
        raise UsageError(f"no title '{missing[0]}' in {library.uri}; expected a media id of it")
    order = sorted((n for n in queries if wanted[n] != 0), key=lambda n: (-abs(wanted[n]), n))
    if not order:
        raise EmptyHistoryError(_nothing_counts(library.uri, wanted, unknown))
    blend = Blend.of([queries[name] for name in order], [wanted[name] for name in order])
    counted = tuple(Counted(name, float(s)) for name, s in zip(order, blend.shares, strict=True))
    query, sigmas = blend.query(), own_sigmas(descriptor)
    return Taste(SpaceRef.of(descriptor), query, sigmas, half_life_days, counted, unknown), blend


def unknown_line(unknown: Sequence[str]) -> str:
    """Which titles of a history are not in the library, for people."""
    named = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
    return f"{len(unknown)} titles of the history are not in the library: {named}"


def _nothing_counts(uri: str, wanted: Collection[str], unknown: Sequence[str]) -> str:
    """Why no taste can be made of a history, in words."""
    if not wanted:
        return "an empty history; expected viewings, a title each"
    if len(unknown) == len(wanted):
        return (
            f"{uri} has none of the history's {len(wanted)} titles, such as '{unknown[0]}'; expected media "
            "ids as `resonance search` shows them"
        )
    lacking = f", and it lacks the other {len(unknown)}" if unknown else ""
    return (
        f"no title of the history counts: {len(wanted) - len(unknown)} in {uri} were watched too little to "
        f"say anything{lacking}; expected one that was watched beyond {UNDECIDED:.0%}, or has a signal"
    )


def save_taste(taste: Taste, path: Path) -> None:
    """Write a taste as JSON, whole or not at all; `read_taste` gives back an equal one.

    Raises:
        UsageError: the file cannot be written.
    """
    data = {
        "format": _FORMAT,
        "version": _VERSION,
        "space": {
            "name": taste.space.name,
            "fingerprint": taste.space.fingerprint,
            "trained": taste.space.trained,
        },
        "half_life_days": taste.half_life_days,
        "counted": [{"media_id": c.media_id, "share": c.share} for c in taste.counted],
        "unknown": list(taste.unknown),
        "sigmas": dict(zip(MODALITIES, taste.sigmas.tolist(), strict=True)),
        "blocks": taste.query.blocks.tolist(),
    }
    try:
        with whole_file(path) as file:
            file.write_text(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error


def load_taste(path: Path, descriptor: Descriptor) -> Taste:
    """What `save_taste` wrote, with the sigmas of the `descriptor` of the space that is to be searched.

    Raises:
        SpaceMismatchError: it is of another space. UsageError: it cannot be read, or is none.
    """
    taste, sigmas = read_taste(path), own_sigmas(descriptor)
    require_same_space(descriptor.fingerprint, taste.space.fingerprint, str(path))
    blocks = taste.query.blocks * (taste.sigmas / sigmas)[:, None]  # by 1 where they are the same
    return replace(taste, query=Query(blocks), sigmas=sigmas)


def read_taste(path: Path) -> Taste:
    """What `save_taste` wrote, as it was.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT or data["version"] != _VERSION:
            raise ValueError(f"format {data['format']!r}, version {data['version']!r}")
        return _parsed(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}") from error
    except (KeyError, TypeError, ValueError, RecursionError, BlockError) as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}; expected {_EXPECTED}") from error


def _parsed(data: Any) -> Taste:
    blocks = np.array(data["blocks"], np.float64)
    if blocks.shape != (len(MODALITIES), BLOCK_WIDTH):
        raise ValueError(f"blocks of shape {blocks.shape}")
    sigmas = np.array([data["sigmas"][name] for name in MODALITIES], np.float64)
    if not (np.isfinite(sigmas) & (sigmas > 0)).all():
        raise ValueError(f"sigmas {data['sigmas']}")
    space = data["space"]
    return Taste(
        SpaceRef(str(space["name"]), str(space["fingerprint"]), bool(space["trained"])),
        Query(blocks),
        sigmas,
        float(data["half_life_days"]),
        tuple(Counted(str(c["media_id"]), float(c["share"])) for c in data["counted"]),
        tuple(map(str, data["unknown"])),
    )
