"""What viewers of known taste watch of their own accord: months of viewings of a catalogue that grows.

Each week a viewer chooses some titles, one after another and never one twice, each with probability

    P(i) proportional to (1 + views_i)^popularity * exp(appeal_i + taste_weight * affinity_ui)

among those that are out: popular titles are shown more and so become more popular, the rest is a long tail.
A title that has just come out is announced: it is shown as though it had been watched more often than three
in four. How many titles are chosen, varies between viewers. All choices of a week see the views of the weeks
before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.training.world.viewers import Viewers

WEEK_S = 7 * 86_400.0
#: 2026-01-05, a Monday, in seconds of the Unix epoch, when viewers begin to be watched, and for how long.
START_S, WEEKS = 1_767_571_200.0, 26


@dataclass(frozen=True, slots=True)
class Choosing:
    """How titles are chosen.

    Attributes:
        weeks: how long viewers are watched.
        viewings: of a viewer in all of it, on average; how keen a viewer is has a gamma distribution of shape
            `KEENNESS`.
        taste_weight: how far choices follow taste: a title liked by one standard deviation more is
            exp(taste_weight) times as likely to be chosen.
        popularity: 0 shows all titles alike, 1 each as often as it was watched.
        appeal: standard deviation of what posters and prizes add, of each title and the same to all viewers.
        premiere_weeks: so long a new title is announced.
        new_share: of the titles that come out during the weeks, evenly; the others are there from the start.
        start_s: of the Unix epoch.
    """

    weeks: int = WEEKS
    viewings: float = 40.0
    taste_weight: float = 1.5
    popularity: float = 0.5
    appeal: float = 0.5
    premiere_weeks: int = 4
    new_share: float = 0.4
    start_s: float = START_S


#: Half of all viewers with less than 84% of the mean, one in eleven with twice it or more.
KEENNESS = 2.0
#: Mean and sharpness (a + b of the beta distribution) of the share watched: see `mean_completion`.
_COMPLETION_AT_0, _COMPLETION_SLOPE, COMPLETION_SHARPNESS = 0.3, 1.0, 4.0


@dataclass(frozen=True, slots=True)
class Releases:
    """Of each title when it came out, seconds of the Unix epoch float64 [N], and its appeal, float32 [N]."""

    released_s: NDArray[np.float64]
    appeal: NDArray[np.float32]


def draw_releases(titles: int, settings: Choosing, *, seed: int) -> Releases:
    """Random ones: new titles at the start of weeks, evenly; the others long before."""
    rng = np.random.default_rng([seed, 0])
    appeal = (settings.appeal * rng.standard_normal(titles)).astype(np.float32)
    released_s = np.full(titles, settings.start_s - 52 * WEEK_S)
    new = rng.permutation(titles)[: round(settings.new_share * titles)]
    released_s[new] = settings.start_s + WEEK_S * (1 + np.arange(len(new)) % max(settings.weeks - 1, 1))
    return Releases(released_s, appeal)


def mean_completion(affinity: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean share watched of a title by how it is liked: logistic, 0.57 of one neither liked nor not."""
    return np.asarray(1 / (1 + np.exp(-(_COMPLETION_AT_0 + _COMPLETION_SLOPE * affinity))), np.float32)


def draw_completion(affinity: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shares watched: beta distributions with the means of `mean_completion`."""
    mean = mean_completion(affinity).astype(np.float64)
    drawn = rng.beta(mean * COMPLETION_SHARPNESS, (1 - mean) * COMPLETION_SHARPNESS)
    return drawn.astype(np.float32)


def choose(
    viewers: Viewers, releases: Releases, media_ids: tuple[str, ...], settings: Choosing, *, seed: int
) -> ViewingLog:
    """Viewings of the viewers over the weeks; the same seed gives the same log.

    With popularity 0 viewers are independent of each other, so that logs of other seeds are other viewers of
    one population.

    Args:
        media_ids: of the titles that viewers were drawn for, [N].
    """
    affinity, appeal, released_s = viewers.affinity, releases.appeal, releases.released_s
    count, titles = affinity.shape
    rng = np.random.default_rng([seed, 1])
    keenness = rng.gamma(KEENNESS, 1 / KEENNESS, count) * settings.viewings / settings.weeks
    views = np.zeros(titles, np.int64)
    seen = np.zeros((count, titles), np.bool_)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for week in range(settings.weeks):
        start_s = settings.start_s + week * WEEK_S
        wanted = rng.poisson(keenness)
        out = released_s <= start_s
        shown = np.where(
            out & (released_s > start_s - settings.premiere_weeks * WEEK_S),
            np.maximum(views, np.quantile(views[out], 0.75)),
            views,
        )
        exposure = (appeal + settings.popularity * np.log1p(shown)).astype(np.float32)
        exposure[~out] = -np.inf
        users = np.flatnonzero(wanted)
        worth = exposure + settings.taste_weight * affinity[users]
        worth[seen[users]] = -np.inf
        who, what = _without_repeats(worth, wanted[users], rng)
        seen[users[who], what] = True
        views += np.bincount(what, minlength=titles)
        found.append((users[who], what, start_s + rng.uniform(0, WEEK_S, len(what))))
    users, watched, at_s = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(at_s, kind="stable")
    users, watched = users[order].astype(np.int64), watched[order].astype(np.int64)
    return ViewingLog(
        users=users,
        titles=watched,
        at_s=at_s[order],
        completion=draw_completion(affinity[users, watched], rng),
        user_ids=tuple(f"viewer {at}" for at in range(count)),
        media_ids=media_ids,
    )


def _without_repeats(
    worth: NDArray[np.float32], wanted: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns drawn from worth [n, N], of each row so many, with odds exp(worth) and none twice.

    The largest of worth plus Gumbel noise are such a draw (Kool, van Hoof and Welling, "Stochastic Beams and
    Where to Find Them", ICML 2019).
    """
    noise = rng.standard_exponential(worth.shape, np.float32)
    noisy = worth - np.log(np.maximum(noise, np.finfo(np.float32).tiny))
    most = min(int(wanted.max(initial=0)), worth.shape[1])
    best = np.argpartition(-noisy, most - 1, axis=1)[:, :most] if most else np.zeros((len(worth), 0), np.intp)
    worths = np.take_along_axis(noisy, best, axis=1)  # (n, most)
    order = np.argsort(-worths, axis=1)
    best, worths = np.take_along_axis(best, order, axis=1), np.take_along_axis(worths, order, axis=1)
    rows, places = np.nonzero((np.arange(most) < wanted[:, None]) & np.isfinite(worths))
    return rows, best[rows, places]
