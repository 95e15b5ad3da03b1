"""What viewers do with recommendations: seen by position, clicked by promise, watched by taste.

In each session a recommender takes a random part of the catalogue and lists its titles by score, best first,
with noise of its own. Whoever looks down the list

    sees position k with chance (1/k)^position_bias            (the stated propensity)
    clicks what is seen with chance logistic(click_at_0 + affinity_ui + promise_i)
    watches what was clicked for a share with mean `mean_completion(affinity_ui)`

so position and liking are mixed in the clicks as they are in real logs: the position-based model of Joachims,
Swaminathan and Schnabel, "Unbiased Learning-to-Rank with Biased Feedback", WSDM 2017. A promise above 0 with
nothing behind it is a title that is clicked and abandoned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import Recommended, ViewingLog
from resonance.training.world.viewers import Viewers
from resonance.training.world.viewers_choosing import (
    START_S,
    WEEK_S,
    WEEKS,
    draw_completion,
    mean_completion,
)


@dataclass(frozen=True, slots=True)
class Showing:
    """How titles are recommended.

    Attributes:
        sessions: of each viewer, evenly over `weeks`.
        positions: length of a list.
        considered: titles that a session's list is made of, at random; at least as many as positions.
        exploration: standard deviation of the noise that the list is ordered with, in those of the score:
            so that bad titles stand high at times and good ones low.
        position_bias: 0: all of a list is seen; 1: position k once in k times.
        click_at_0: log odds of clicking a title that is neither liked nor not and promises nothing.
        duration_s: of every title.
    """

    sessions: int = 10
    positions: int = 10
    considered: int = 100
    exploration: float = 0.5
    position_bias: float = 1.0
    click_at_0: float = -1.0
    duration_s: float = 96.0
    weeks: int = WEEKS
    start_s: float = START_S

    def propensities(self) -> NDArray[np.float64]:
        """The chance that each position is seen, float64 [positions], from position 1."""
        return np.asarray((1 / np.arange(1, self.positions + 1)) ** self.position_bias)


@dataclass(frozen=True, slots=True)
class Shown:
    """Impressions, and what is true of each had it been seen; rows as in the log.

    Attributes:
        click: the chance of a click, float32 [V]. completion: the mean share watched once clicked, [V].
    """

    log: ViewingLog
    click: NDArray[np.float32]
    completion: NDArray[np.float32]

    @property
    def finished_share(self) -> NDArray[np.float32]:
        """The mean share watched of each once seen, clicked or not, float32 [V]."""
        return self.click * self.completion


def show(
    viewers: Viewers,
    scores: NDArray[np.float32],
    media_ids: tuple[str, ...],
    settings: Showing,
    *,
    seed: int,
    promise: NDArray[np.float32] | None = None,
) -> Shown:
    """Impressions of a recommender that gives each viewer and title the score in `scores` [U, N].

    Args:
        promise: of each title, [N], added to the log odds of a click alone. By default none does.

    Raises:
        ValueError: lists longer than what they are made of, or than the catalogue.
    """
    count, titles = scores.shape
    if not settings.positions <= settings.considered <= titles:
        raise ValueError(
            f"lists of {settings.positions} positions out of {settings.considered} of {titles} titles; "
            "expected at most as many positions as titles considered, and those of the catalogue"
        )
    rng = np.random.default_rng([seed, 2])
    listed = _lists(scores, settings, rng)  # (sessions, U, K)
    sessions, _, places = listed.shape
    users = np.broadcast_to(np.arange(count)[None, :, None], listed.shape).reshape(-1)
    chosen = listed.reshape(-1)
    position = np.broadcast_to(np.arange(places), listed.shape).reshape(-1)
    liked = viewers.affinity[users, chosen]
    odds = settings.click_at_0 + liked + (0.0 if promise is None else promise[chosen])
    click = (1 / (1 + np.exp(-odds))).astype(np.float32)
    chance = settings.propensities()[position]
    clicked = rng.random(len(chosen)) < chance * click
    watched = np.where(clicked, draw_completion(liked, rng), np.float32(0))
    # a list is shown at one moment; those of a session fall anywhere in its share of the weeks
    step_s = settings.weeks * WEEK_S / max(sessions, 1)
    moments = (np.arange(sessions)[:, None] + rng.random((sessions, count))) * step_s  # (sessions, U)
    at_s = settings.start_s + np.broadcast_to(moments[..., None], listed.shape).reshape(-1)
    order = np.lexsort((position, users, at_s))
    log = ViewingLog(
        users=users[order].astype(np.int64),
        titles=chosen[order].astype(np.int64),
        at_s=at_s[order],
        completion=watched[order],
        user_ids=tuple(f"viewer {at}" for at in range(count)),
        media_ids=media_ids,
        recommended=Recommended(
            score=scores[users, chosen][order],
            position=position[order] + 1,
            propensity=chance[order].astype(np.float32),
            clicked=clicked[order],
            watch_s=(watched * np.float32(settings.duration_s))[order],
        ),
    )
    return Shown(log, click[order], mean_completion(liked)[order])


def _lists(scores: NDArray[np.float32], settings: Showing, rng: np.random.Generator) -> NDArray[np.intp]:
    """Titles of every list, best first, int [sessions, U, positions]; none twice in a list."""
    noise = np.float32(settings.exploration * scores.std())
    lists = []
    for _ in range(settings.sessions):
        offered = np.argpartition(rng.random(scores.shape, np.float32), settings.considered - 1, axis=1)
        offered = offered[:, : settings.considered]  # (U, considered)
        worth = np.take_along_axis(scores, offered, axis=1)
        worth = worth + noise * rng.standard_normal(worth.shape, np.float32)
        best = np.argsort(-worth, axis=1)[:, : settings.positions]
        lists.append(np.take_along_axis(offered, best, axis=1))
    return np.stack(lists)
