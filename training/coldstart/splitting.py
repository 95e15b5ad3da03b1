"""A log cut in time, titles held out whole, and the refusal of a split or of features that leak."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.discovery.taste import UNDECIDED
from resonance.clients.errors import ResonanceError, UsageError

Rows = NDArray[np.int64]

_EXAMPLES = 3
#: A column that ranks new titles by their test viewings as well as this is taken for made of these viewings;
#: so few titles would be ranked so by chance, and so few must carry a tag and lack it.
TELLS_POPULARITY, _FEWEST_TITLES, _FEWEST_CARRIERS = 0.98, 20, 5


class LeakageError(ResonanceError):
    """What is tested would be known in training.

    Attributes:
        kind: what leaks. examples: the first of them in words. count: how many there are.
    """

    def __init__(self, kind: str, examples: tuple[str, ...], count: int, expected: str) -> None:
        self.kind, self.examples, self.count = kind, examples, count
        shown = "; ".join(examples) + ("; …" if count > len(examples) else "")
        super().__init__(f"the test leaks: {count} {kind} ({shown}); expected {expected}")


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How a log is cut.

    Attributes:
        test_share: of the viewings, the latest, that are tested. validation_share: of those before, the
            latest, that tell when to stop.
        held_out_share: of the titles that were viewed before the cut, so many are held out as well.
        practice_share: of the others, so many are held out of training alone: validation wants new titles.
        liked: a viewing counts as one that should be found where so much was watched, or it is not known.
        drop_rewatched: leave out of the test what its viewer had watched before; else it is a leak.
    """

    test_share: float = 0.2
    validation_share: float = 0.1
    held_out_share: float = 0.1
    practice_share: float = 0.1
    liked: float = UNDECIDED
    drop_rewatched: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a log by what they are for, each int64, oldest first.

    Attributes:
        known: before `cut_s`, of known titles: histories, and what popularity and factorisation count.
        train, validation: of these; what towers learn from, and what tells them when to stop.
        test: from `cut_s` on.
        cold: titles that were held out whole, bool [N]. practice: known ones without a row in `train`.
        seen: all rows before the cut, those of held-out titles too: a list does not name them again.
        rewatched: viewings that were left out of the test.
    """

    cut_s: float
    known: Rows
    train: Rows
    validation: Rows
    test: Rows
    cold: NDArray[np.bool_]
    practice: NDArray[np.bool_]
    seen: Rows
    rewatched: int = 0


def watched_rows(log: ViewingLog) -> Rows:
    """Rows that are viewings: not those that were shown and not clicked."""
    if log.recommended is None:
        return np.arange(len(log.users))
    return np.flatnonzero(log.recommended.clicked)


def is_liked(log: ViewingLog, least: float) -> NDArray[np.bool_]:
    """Which rows [V] were watched so far; where it is not known, all."""
    return ~(log.completion < least)  # NaN too


def make_split(
    log: ViewingLog,
    settings: SplitSettings,
    seed: int,
    *,
    tested: NDArray[np.bool_] | None = None,
    held_out: Collection[str] = (),
) -> Split:
    """Cut a log, or take the cut that was made.

    Args:
        tested: which rows are the test, bool [V], where that is settled; else the latest.
        held_out: media ids that are said to be never seen; their viewings are left where they are.

    Raises:
        UsageError: nothing is left to learn from, or to test, or none of `held_out` is a title.
    """
    rows = watched_rows(log)
    if tested is None:
        cut_s = float(np.quantile(log.at_s[rows], 1 - settings.test_share)) if len(rows) else 0.0
        tested = log.at_s >= cut_s
    else:
        cut_s = float(log.at_s[tested].min()) if tested.any() else np.inf
    before, test = rows[~tested[rows]], rows[tested[rows]]
    counts = np.bincount(log.titles[before], minlength=len(log.media_ids))
    rng = np.random.default_rng([seed, 1])
    drawn = _drawn(counts > 0, settings.held_out_share, rng)
    named = np.isin(np.array(log.media_ids), list(held_out))
    if len(held_out) and not named.any():
        raise UsageError(
            f"none of the {len(held_out)} media ids that are to be held out is among the "
            f"{len(log.media_ids)} titles, such as {next(iter(held_out))}; expected titles called as the "
            f"store calls them, such as {log.media_ids[0]}"
        )
    cold = (counts == 0) | drawn | named
    practice = _drawn(~cold, settings.practice_share, rng)
    known = before[~drawn[log.titles[before]] | named[log.titles[before]]]
    rewatched = 0
    if settings.drop_rewatched:
        again = np.isin(_pairs(log, test), _pairs(log, before))
        test, rewatched = test[~again], int(again.sum())
    first = round(len(known) * (1 - settings.validation_share))
    train = known[:first][~practice[log.titles[known[:first]]]]
    split = Split(cut_s, known, train, known[first:], test, cold, practice, before, rewatched)
    if not (len(split.train) and len(split.validation) and len(test)):
        raise UsageError(
            f"{len(log.users)} viewings of {len(log.media_ids)} titles, {len(split.train)} of them to learn "
            f"from and {len(test)} to test; expected a log of weeks, in which both are some thousand"
        )
    return split


def _drawn(among: NDArray[np.bool_], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    places = np.flatnonzero(among)
    chosen = np.zeros(len(among), np.bool_)
    chosen[rng.choice(places, round(len(places) * share), replace=False)] = True
    return chosen


def _pairs(log: ViewingLog, rows: Rows) -> Rows:
    """Viewer and title as one number, int64 [R]."""
    return log.users[rows] * len(log.media_ids) + log.titles[rows]


def check_split(log: ViewingLog, split: Split) -> None:
    """Refuse what would make the test easier than the future is.

    Raises:
        LeakageError: a test viewing that lies before one that is learned from, a held-out title with a
            viewing that is learned from, or the same viewer and title on both sides.
    """
    known = np.unique(np.concatenate([split.known, split.train, split.validation]))
    last_s = float(log.at_s[known].max())
    early = split.test[log.at_s[split.test] < last_s]
    _refuse(
        "test viewings before the last that is learned from",
        early,
        log,
        f"all of them at {_when(last_s)} or later: cut the log in time",
    )
    shown = known[split.cold[log.titles[known]]]
    _refuse(
        "viewings of held-out titles among those that are learned from",
        shown,
        log,
        "none: a title that was viewed is not new",
    )
    again = split.test[np.isin(_pairs(log, split.test), _pairs(log, split.seen))]
    _refuse(
        "test viewings of a title that the same viewer had watched before",
        again,
        log,
        "none; --drop-rewatched leaves them out of the test",
    )


def _refuse(kind: str, rows: Rows, log: ViewingLog, expected: str) -> None:
    if len(rows):
        named = [
            f"{log.user_ids[log.users[row]]} {log.media_ids[log.titles[row]]} {_when(log.at_s[row])}"
            for row in rows[:_EXAMPLES]
        ]
        raise LeakageError(kind, tuple(named), len(rows), expected)


def _when(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def check_features(
    contestants: Mapping[str, NDArray[np.float32]],
    log: ViewingLog,
    split: Split,
    names: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Refuse a column of a contestant [N, d] that is the popularity of the test in another form.

    Each column by itself is held against the test viewings of new titles: it leaks where it orders pairs of
    titles as these do in at least `TELLS_POPULARITY` of all cases, either way round. A popularity that is
    mixed into many columns, or is less exact, is not found: with as many columns as titles any popularity
    can be made of honest ones.

    Args:
        names: of the columns, by contestant.

    Raises:
        LeakageError: there is such a column.
    """
    new = np.flatnonzero(split.cold)
    views = np.bincount(log.titles[split.test], minlength=len(log.media_ids))[new].astype(np.float64)
    if len(new) < _FEWEST_TITLES or np.ptp(views) == 0:
        return
    found = [
        f"{name}, {names[name][column] if names and name in names else f'column {column}'}"
        for name, features in contestants.items()
        for column in _telling(features[new], views)
    ]
    if found:
        raise LeakageError(
            "columns of features that order new titles as the test viewings do",
            tuple(found[:_EXAMPLES]),
            len(found),
            "features that were there before the cut",
        )


def _telling(features: NDArray[np.float32], views: NDArray[np.float64]) -> Iterator[int]:
    """Columns of [n, d] that leak; views: float64 [n]."""
    ranks = rankdata(views)
    for column, values in enumerate(features.T):
        kinds, counts = np.unique(values, return_counts=True)
        if len(kinds) == 2 and counts.min() >= _FEWEST_CARRIERS:
            carried = values == kinds[1]
            ones, others = carried.sum(), (~carried).sum()
            # the Mann-Whitney statistic: how often a carrier has more views than another title
            agreement = (ranks[carried].sum() - ones * (ones + 1) / 2) / (ones * others)
        elif len(kinds) > 2:
            agreement = (1 + np.corrcoef(rankdata(values), ranks)[0, 1]) / 2
        else:
            continue
        if max(agreement, 1 - agreement) >= TELLS_POPULARITY:
            yield column
