"""Outcomes as figures with intervals, and differences from one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.estimates import Estimate
from resonance.training.coldstart.evaluation import Evaluation, Outcome
from resonance.training.coldstart.intervals import Means, over_viewers
from resonance.training.coldstart.measures import MOST_MISCALIBRATION, chance_recall, shares
from resonance.training.coldstart.result import (
    FOUND,
    ColdstartResult,
    Contestant,
    Difference,
    SplitFacts,
)
from resonance.training.coldstart.splitting import watched_rows


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant and its outcome; the rest as in `Contestant`."""

    name: str
    kind: str
    width: int
    epochs: int
    seconds: float
    outcome: Outcome


def summarise(
    entries: Sequence[Entry], evaluation: Evaluation, *, reference: str, trainings: int, seed: int
) -> ColdstartResult:
    """All figures."""
    names = [entry.name for entry in entries]
    at, others = names.index(reference), [i for i, name in enumerate(names) if name != reference]
    found: list[dict[tuple[str, str], Estimate]] = [{} for _ in entries]
    differences: list[Difference] = []
    for pool in evaluation.pools:
        for name, mask in pool.slices.items():
            viewings = pool.viewings.take(mask)
            gains = np.stack([entry.outcome.gains[name] for entry in entries], axis=1)  # (p, E, measures)
            columns = gains.reshape(len(viewings.viewers), -1)  # (p, E * measures)
            means = Means(viewings, columns, shares(viewings, len(evaluation.users)))
            for column, measure in enumerate(FOUND):
                places = [i * len(FOUND) + column for i in range(len(entries))]
                for own, place in zip(found, places, strict=True):
                    own[name, measure] = means.estimate(place)
                for i in others:
                    tests = len(others)
                    differences.append(
                        Difference(
                            names[i],
                            name,
                            measure,
                            means.difference(places[at], places[i], tests=tests),
                            means.relative(places[at], places[i], tests=tests),
                        )
                    )
    contestants = tuple(_contestant(entry, own) for entry, own in zip(entries, found, strict=True))
    return ColdstartResult(
        reference=reference,
        k=evaluation.k,
        seed=seed,
        trainings=trainings,
        contestants=contestants,
        differences=tuple(differences),
        split=_facts(evaluation),
    )


def _contestant(entry: Entry, found: dict[tuple[str, str], Estimate]) -> Contestant:
    outcome = entry.outcome
    new, tail = (over_viewers(outcome.exposures[:, column]) for column in (0, 1))
    told = None
    if outcome.miscalibration is not None:
        known = outcome.miscalibration[~np.isnan(outcome.miscalibration)]
        told = over_viewers(known, most=MOST_MISCALIBRATION) if len(known) else None
    return Contestant(
        name=entry.name,
        kind=entry.kind,
        width=entry.width,
        epochs=entry.epochs,
        seconds=entry.seconds,
        found=found,
        coverage=outcome.coverage,
        exposure_new=new,
        exposure_tail=tail,
        miscalibration=told,
        reliability=outcome.reliability,
    )


def _facts(evaluation: Evaluation) -> SplitFacts:
    split, log = evaluation.split, evaluation.log
    every = evaluation.pools[-1].viewings.titles  # the last pool is of all titles
    counts, ever = (
        np.bincount(log.titles[rows], minlength=len(log.media_ids))
        for rows in (split.seen, watched_rows(log))
    )
    return SplitFacts(
        cut_s=split.cut_s,
        training=len(split.train),
        validation=len(split.validation),
        test=len(split.test),
        rewatched=split.rewatched,
        known_titles=int((~split.cold).sum()),
        new_titles=int(split.cold.sum()),
        first_seen_later=int((split.cold & (counts == 0) & (ever > 0)).sum()),
        viewers=len(evaluation.users),
        without_history=evaluation.without_history,
        chance={
            name: chance_recall(pool.candidates, pool.viewings.take(mask), evaluation.k)
            for pool in evaluation.pools
            for name, mask in pool.slices.items()
        },
        viewed_new=_share(split.cold, every),
        viewed_tail=_share(evaluation.known_tail, every),
        never_seen=int((split.cold & (ever == 0)).sum()),
    )


def _share(titles: NDArray[np.bool_], viewed: NDArray[np.int64]) -> float:
    return float(titles[viewed].mean())
