"""What is tested: pools of titles, the viewings that should be found there, and a contestant's outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.errors import UsageError
from resonance.training.coldstart.measures import (
    Floats,
    Scorer,
    Viewings,
    exposure,
    found,
    head_titles,
    miscalibration,
    rank,
    reliability,
)
from resonance.training.coldstart.result import (
    COLD,
    COLD_HEAD,
    COLD_TAIL,
    EVERY,
    FOUND,
    WARM,
    WARM_HEAD,
    WARM_TAIL,
    Reliability,
)
from resonance.training.coldstart.splitting import Split, is_liked


@dataclass(frozen=True, slots=True)
class Pool:
    """Titles that are ranked against each other.

    Attributes:
        titles: ascending, int64 [T]. viewings: those that should be found among them.
        slices: which of the viewings, bool [P], by name; none is empty.
        candidates: titles of the pool that each viewer has not watched, int64 [U].
    """

    name: str
    titles: NDArray[np.int64]
    viewings: Viewings
    slices: Mapping[str, NDArray[np.bool_]]
    candidates: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The same for every contestant.

    Attributes:
        users: viewers that count, as the log numbers them, int64 [U]. seen: what they had watched.
        pools: new titles, known ones, all; one without a viewing is left out.
        known_tail: known titles beyond the head, bool [N].
        history: how much each title counts for each viewer, [U, N]; tags: 0 or 1, [N, G], or None.
        without_history: test viewings of viewers that have none.
    """

    log: ViewingLog
    split: Split
    users: NDArray[np.int64]
    seen: Viewings
    pools: tuple[Pool, ...]
    known_tail: NDArray[np.bool_]
    history: sparse.csr_matrix
    tags: NDArray[np.float32] | None
    k: int
    seed: int
    without_history: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one ranking of everything reached, by viewing and by viewer.

    Attributes:
        gains: by slice, float64 [p, len(FOUND)]. exposures: of new titles and of the known tail, [U, 2].
        miscalibration: [U], NaN where the history has no tag; None without tags.
    """

    gains: Mapping[str, Floats]
    exposures: Floats
    miscalibration: Floats | None
    coverage: float
    reliability: Reliability | None


def make_evaluation(
    log: ViewingLog,
    split: Split,
    *,
    liked: float,
    k: int,
    viewers: int,
    seed: int,
    tags: NDArray[np.float32] | None,
) -> Evaluation:
    """Viewers with a history and a viewing to be found, at most `viewers` of them.

    Raises:
        UsageError: there are none.
    """
    wanted = split.test[is_liked(log, liked)[split.test]]
    has_history = np.zeros(len(log.user_ids), np.bool_)
    has_history[log.users[split.known]] = True
    without_history = int((~has_history[log.users[wanted]]).sum())
    users = np.unique(log.users[wanted])
    users = users[has_history[users]]
    if len(users) > viewers:
        users = np.sort(np.random.default_rng([seed, 6]).choice(users, viewers, replace=False))
    if not len(users):
        raise UsageError(
            f"{len(split.test)} test viewings, none watched to {liked:.0%} by a viewer with a history; "
            "expected viewers that return"
        )
    number = np.full(len(log.user_ids), -1)
    number[users] = np.arange(len(users))
    seen = _viewings(log, split.seen, number)
    to_find = _viewings(log, wanted, number)
    views = np.bincount(log.titles[wanted], minlength=len(log.media_ids))
    known_views = np.bincount(log.titles[split.known], minlength=len(log.media_ids))
    new_head, known_head = head_titles(np.where(split.cold, views, 0)), head_titles(known_views)
    known_rows = split.known[number[log.users[split.known]] >= 0]
    completion = np.nan_to_num(log.completion[known_rows], nan=1.0)
    history = sparse.csr_matrix(
        (completion.astype(np.float64), (number[log.users[known_rows]], log.titles[known_rows])),
        (len(users), len(log.media_ids)),
    )
    there = np.ones(len(log.media_ids), np.bool_)
    pools = [
        _pool(COLD, split.cold, to_find, seen, len(users), {COLD_HEAD: new_head, COLD_TAIL: ~new_head}),
        _pool(WARM, ~split.cold, to_find, seen, len(users), {WARM_HEAD: known_head, WARM_TAIL: ~known_head}),
        _pool(EVERY, there, to_find, seen, len(users), {}),
    ]
    return Evaluation(
        log,
        split,
        users,
        seen,
        tuple(pool for pool in pools if pool.slices),
        ~split.cold & ~known_head,
        history,
        tags,
        k,
        seed,
        without_history,
    )


def _viewings(log: ViewingLog, rows: NDArray[np.int64], number: NDArray[np.int64]) -> Viewings:
    """Each viewer and title once, of viewers that have a number."""
    titles = len(log.media_ids)
    mine = number[log.users[rows]]
    both = np.unique(mine[mine >= 0] * titles + log.titles[rows[mine >= 0]])
    return Viewings(both // titles, both % titles)


def _pool(
    name: str,
    chosen: NDArray[np.bool_],
    to_find: Viewings,
    seen: Viewings,
    viewers: int,
    parts: Mapping[str, NDArray[np.bool_]],
) -> Pool:
    """Chosen titles [N]; parts: slices by title, bool [N]."""
    viewings = to_find.take(chosen[to_find.titles])
    masks = {name: np.ones(len(viewings.titles), np.bool_)}
    masks |= {part: titles[viewings.titles] for part, titles in parts.items()}
    titles = np.flatnonzero(chosen)
    candidates = len(titles) - seen.take(chosen[seen.titles]).counts(viewers)
    return Pool(name, titles, viewings, {n: mask for n, mask in masks.items() if mask.any()}, candidates)


def evaluate(scorer: Scorer, evaluation: Evaluation, *, probabilities: bool) -> Outcome:
    """Rank every pool; `probabilities`: the scores are logarithms of such, but for a constant."""
    gains: dict[str, Floats] = {}
    lists = np.empty((0, evaluation.k), np.int64)
    told: Reliability | None = None
    for pool in evaluation.pools:
        chances = probabilities and pool.name == COLD
        ranking = rank(
            scorer,
            evaluation.users,
            pool.titles,
            evaluation.seen,
            pool.viewings,
            k=evaluation.k,
            seed=evaluation.seed,
            chances=chances,
        )
        for name, mask in pool.slices.items():
            by_measure = found(ranking, pool.viewings, mask, evaluation.k)
            gains[name] = np.column_stack([by_measure[measure] for measure in FOUND])
        if chances:
            told = reliability(ranking, pool.viewings)
        if pool.name == EVERY:
            lists = ranking.lists
    return Outcome(
        gains,
        np.column_stack(
            [exposure(lists, titles) for titles in (evaluation.split.cold, evaluation.known_tail)]
        ),
        None if evaluation.tags is None else miscalibration(evaluation.history, lists, evaluation.tags),
        len(np.unique(lists[lists >= 0])) / len(evaluation.log.media_ids),
        told,
    )


def mean_outcome(outcomes: list[Outcome]) -> Outcome:
    """Of several trainings; the reliability is that of the first."""
    first = outcomes[0]
    told = [one.miscalibration for one in outcomes if one.miscalibration is not None]
    return Outcome(
        {name: np.mean([one.gains[name] for one in outcomes], axis=0) for name in first.gains},
        np.mean([one.exposures for one in outcomes], axis=0),
        np.mean(told, axis=0) if told else None,
        float(np.mean([one.coverage for one in outcomes])),
        first.reliability,
    )
