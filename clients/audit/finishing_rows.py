"""Which rows of a log are looked at, and what is known of each: score, weight, what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from resonance.clients.audit.finishing_curves import IntArray
from resonance.clients.audit.finishing_positions import PositionFit
from resonance.clients.audit.finishing_weights import CLIP, SeenWeights, seen_weights
from resonance.clients.audit.groups import GroupSource, check_sources
from resonance.clients.audit.logged_titles import Titles
from resonance.clients.audit.viewing_log import Recommended, ViewingLog
from resonance.clients.discovery.taste import ABANDONED
from resonance.clients.errors import UsageError
from resonance.space.blocks import BoolArray, FloatArray

BY_LOG, BY_TASTE = "the score of the log", "the taste of the viewer's earlier viewings"


@dataclass(frozen=True, slots=True)
class FinishingSettings:
    """How to look.

    Attributes:
        abandoned: watched less than this share, a clicked title was abandoned.
        clip: chances of being seen below this count as this.
        position_bias: suppose that position k is seen with (1 / k)^position_bias; None: as the log tells.
        sources: groups of titles whose kinds are looked at besides.
        most_rows: viewers are drawn at random until they have so many rows. draws: of the bootstrap.

    Raises:
        UsageError: a share or a chance that is none, or two sources that are called the same.
    """

    abandoned: float = ABANDONED
    clip: float = CLIP
    position_bias: float | None = None
    sources: tuple[GroupSource, ...] = ()
    most_rows: int = 200_000
    draws: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.abandoned < 1:
            raise UsageError(f"abandoned below {self.abandoned}; expected a share between 0 and 1")
        if not 0 < self.clip <= 1:
            raise UsageError(f"chances clipped at {self.clip}; expected above 0, at most 1")
        check_sources(self.sources)


@dataclass(frozen=True, slots=True, eq=False)
class FinishingRows:
    """The rows that are looked at, all [R].

    Attributes:
        users, titles: as in the log. score: what they were recommended by. weights: `seen_weights`.
        clicked, completion, watch_s: what came of it; completion is 0 where not clicked, and both are NaN
            where it was clicked and they are not known.
        shares: what each block brings to the score by taste, [R, 3]; NaN in blocks that are not real, and in
            all where the viewer had watched nothing before.
        fit: of chances that were fitted, and with them the weights; None where they were not.
    """

    users: IntArray
    titles: IntArray
    score: FloatArray
    weights: FloatArray
    clicked: BoolArray
    completion: FloatArray
    watch_s: FloatArray
    shares: FloatArray
    fit: PositionFit | None = None

    @property
    def watched(self) -> BoolArray:
        """Clicked, and it is known how far it was watched: what completion is a mean of."""
        told: BoolArray = self.clicked & np.isfinite(self.completion)
        return told


@dataclass(frozen=True, slots=True)
class Chosen:
    """Attributes:
    rows: that are looked at. weights: how they got theirs. scored_by: whose score it is.
    left_out: recommended rows that are not looked at, by reason.
    """

    rows: FinishingRows
    weights: SeenWeights
    scored_by: str
    left_out: dict[str, int]


def recommended_rows(log: ViewingLog) -> BoolArray:
    """Rows that were recommended, bool [V]; all of a log that does not say which."""
    given = log.recommended
    if given is None:
        return np.ones(len(log), np.bool_)
    told: BoolArray = (given.position > 0) | np.isfinite(given.score) | np.isfinite(given.propensity)
    return told if told.any() else np.ones(len(log), np.bool_)


def draw_viewers(log: ViewingLog, settings: FinishingSettings) -> ViewingLog:
    """All rows of viewers drawn at random, until they have enough recommended ones; their titles alone."""
    counts = np.bincount(log.users[recommended_rows(log)], minlength=len(log.user_ids))
    order = np.random.default_rng(settings.seed).permutation(len(counts))
    chosen = np.zeros(len(counts), np.bool_)
    chosen[order[np.cumsum(counts[order]) - counts[order] < settings.most_rows]] = True
    taken = log.take(chosen[log.users])
    used, titles = np.unique(taken.titles, return_inverse=True)
    return replace(taken, titles=titles.astype(np.int64), media_ids=tuple(log.media_ids[at] for at in used))


def choose_rows(log: ViewingLog, titles: Titles, shares: FloatArray, settings: FinishingSettings) -> Chosen:
    """Those of which all is known that must be.

    A click of which it is not known how far it was watched stays: without it, clicks would be rarer among
    what was shown than they are.

    Args:
        titles: of the log. shares: `resonance.clients.audit.finishing_taste.taste_shares`, [V, 3].
    """
    given = log.recommended or _nothing_told(len(log))
    score, scored_by = given.score.astype(np.float64), BY_LOG
    if not np.isfinite(score).any():
        score, scored_by = shares.sum(axis=1), BY_TASTE
    left = np.flatnonzero(recommended_rows(log))
    left_out: dict[str, int] = {}

    def keep(right: BoolArray, why: str) -> None:
        nonlocal left
        left_out[why] = int((~right[left]).sum())
        left = left[right[left]]

    keep(titles.known[log.titles], "the store does not have the title")
    why = "no score" if scored_by == BY_LOG else "the viewer had watched nothing before that counts"
    keep(np.isfinite(score), why)
    weights = seen_weights(
        users=log.users[left],
        score=score[left],
        position=given.position[left],
        propensity=given.propensity[left].astype(np.float64),
        clicked=given.clicked[left],
        clip=settings.clip,
        position_bias=settings.position_bias,
    )
    of_log = np.full(len(log), np.nan)
    of_log[left] = weights.weights
    weighed = left
    keep(np.isfinite(of_log), "the chance of being seen is not known")
    rows = FinishingRows(
        users=log.users[left],
        titles=log.titles[left],
        score=score[left],
        weights=of_log[left],
        clicked=given.clicked[left],
        completion=np.where(given.clicked, log.completion, 0.0)[left].astype(np.float64),
        watch_s=given.watch_s[left].astype(np.float64),
        shares=np.where(titles.present[log.titles[left]], shares[left], np.nan),
        fit=None if weights.fit is None else weights.fit.take(np.isin(weighed, left)),
    )
    return Chosen(rows, replace(weights, weights=rows.weights), scored_by, left_out)


def _nothing_told(rows: int) -> Recommended:
    """Of a log that says nothing of recommendations: everything in it was watched."""
    unknown = np.full(rows, np.nan, np.float32)
    return Recommended(unknown, np.zeros(rows, np.int64), unknown, np.ones(rows, np.bool_), unknown)
