"""The experiment: every contestant on the same split, with the same towers, viewers, titles and seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.errors import UsageError
from resonance.training.coldstart.baselines import Factorisation, popularity_scores
from resonance.training.coldstart.evaluation import Evaluation, evaluate, make_evaluation, mean_outcome
from resonance.training.coldstart.histories import Histories
from resonance.training.coldstart.result import ColdstartResult
from resonance.training.coldstart.splitting import (
    Split,
    SplitSettings,
    check_features,
    check_split,
    is_liked,
    make_split,
)
from resonance.training.coldstart.summary import Entry, summarise
from resonance.training.coldstart.two_tower import TowerSettings, train_towers

TOWERS, POPULARITY, FACTORISATION = "two towers", "popularity", "factorisation"
#: Told what is worked on, and whether something was done.
Tell = Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class ColdstartSettings:
    """How the experiment is done.

    Attributes:
        k: length of the lists.
        trainings: of each tower, by as many seeds; a viewer's figures are their mean.
        viewers: that the test counts, at most; of more, so many are drawn.
    """

    k: int = 10
    split: SplitSettings = field(default_factory=SplitSettings)
    tower: TowerSettings = field(default_factory=TowerSettings)
    trainings: int = 1
    viewers: int = 5_000
    seed: int = 0


def run_coldstart(
    contestants: Mapping[str, NDArray[np.float32]],
    log: ViewingLog,
    settings: ColdstartSettings | None = None,
    *,
    reference: str | None = None,
    tags: NDArray[np.float32] | None = None,
    split: Split | None = None,
    columns: Mapping[str, tuple[str, ...]] | None = None,
    progress: Progress | None = None,
) -> ColdstartResult:
    """Train two towers over each contestant's features, beside popularity and factorisation, and compare.

    Args:
        contestants: features by name, float32 [N, d] in the order of `log.media_ids`; d may differ.
        reference: whom the others are compared with; the first where it is not said.
        tags: 0 or 1, [N, G]: what lists are compared with histories by.
        split: one that was made; checked like any other.
        columns: names of features by contestant, for what a refusal says.
        progress: shows how far it is.

    Raises:
        UsageError: features of another shape or not finite, a name twice, or a log too short to be cut.
        LeakageError: the split or a column of features leaks.
    """
    chosen = settings or ColdstartSettings()
    _check(contestants, log, reference)
    cut = split or make_split(log, chosen.split, chosen.seed)
    check_split(log, cut)
    check_features(contestants, log, cut, columns)
    evaluation = make_evaluation(
        log, cut, liked=chosen.split.liked, k=chosen.k, viewers=chosen.viewers, seed=chosen.seed, tags=tags
    )
    tell = _telling(progress, len(contestants) * chosen.trainings + 2)
    entries = [_of_towers(name, x, evaluation, chosen, tell) for name, x in contestants.items()]
    entries += [_of_popularity(evaluation, chosen, tell), _of_factorisation(evaluation, chosen, tell)]
    tell("intervals", False)
    return summarise(
        entries,
        evaluation,
        reference=reference or next(iter(contestants)),
        trainings=chosen.trainings,
        seed=chosen.seed,
    )


def _check(contestants: Mapping[str, NDArray[np.float32]], log: ViewingLog, reference: str | None) -> None:
    taken = sorted({POPULARITY, FACTORISATION} & set(contestants))
    if taken:
        raise UsageError(f"a contestant is called {taken[0]}, which is one by itself; expected another name")
    if not contestants or (reference or next(iter(contestants))) not in contestants:
        raise UsageError(
            f"reference {reference} among {', '.join(contestants) or 'no contestants'}; expected one of them"
        )
    for name, features in contestants.items():
        if features.ndim != 2 or len(features) != len(log.media_ids):
            raise UsageError(
                f"contestant {name}: features of shape {features.shape}; expected ({len(log.media_ids)}, d), "
                "a row for each title of the log"
            )
        wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(wrong):
            raise UsageError(
                f"contestant {name}: {len(wrong)} titles have features that are not finite, first "
                f"{log.media_ids[wrong[0]]}; expected numbers"
            )


def _telling(progress: Progress | None, steps: int) -> Tell:
    if progress is None:
        return lambda what, done: None
    task = progress.add_task("cold start", total=steps)
    return lambda what, done: progress.update(task, description=what, advance=1 if done else 0)


def _of_towers(
    name: str, features: NDArray[np.float32], evaluation: Evaluation, settings: ColdstartSettings, tell: Tell
) -> Entry:
    log, split = evaluation.log, evaluation.split
    histories = Histories(log, split.known, length=settings.tower.history)
    started_s = time.perf_counter()
    outcomes, epochs = [], []
    for training in range(settings.trainings):
        trained = train_towers(
            features,
            log,
            split,
            settings.tower,
            liked=settings.split.liked,
            seed=settings.seed + training,
            on_epoch=lambda epoch: tell(f"{name}: epoch {epoch}", False),
        )

        def score(
            users: NDArray[np.int64], titles: NDArray[np.int64], of: Callable = trained.scores
        ) -> NDArray[np.float32]:
            return of(histories.before(users, np.full(len(users), split.cut_s)), titles)

        outcomes.append(evaluate(score, evaluation, probabilities=True))
        epochs.append(trained.epochs)
        tell(name, True)
    seconds = time.perf_counter() - started_s
    return Entry(name, TOWERS, features.shape[1], max(epochs), seconds, mean_outcome(outcomes))


def _of_popularity(evaluation: Evaluation, settings: ColdstartSettings, tell: Tell) -> Entry:
    tell(POPULARITY, False)
    started_s = time.perf_counter()
    log = evaluation.log
    popular = popularity_scores(log, evaluation.split.known, is_liked(log, settings.split.liked))

    def score(users: NDArray[np.int64], titles: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.tile(popular[titles], (len(users), 1))

    outcome = evaluate(score, evaluation, probabilities=True)
    tell(POPULARITY, True)
    return Entry(POPULARITY, POPULARITY, 0, 0, time.perf_counter() - started_s, outcome)


def _of_factorisation(evaluation: Evaluation, settings: ColdstartSettings, tell: Tell) -> Entry:
    tell(FACTORISATION, False)
    started_s = time.perf_counter()
    fitted = Factorisation(evaluation.log, evaluation.split.known, seed=settings.seed)
    outcome = evaluate(fitted.scores, evaluation, probabilities=False)
    tell(FACTORISATION, True)
    return Entry(FACTORISATION, FACTORISATION, 0, 0, time.perf_counter() - started_s, outcome)
