"""Viewers whose taste is known: how much each would like each title of the procedural world.

A title is described by the latent factors of `resonance.training.world.factors`. For each group g of factors
a viewer has weights w_ug, standard normal, over the group's description x_ig of a title, so that

    like_uig = <w_ug, x_ig>, standardised over the titles
    affinity_ui = sum over g of sqrt(share_g) * like_uig

where the shares of the variance sum to 1. Feel is the groups of `FEEL_SHARES`; tags are the genre, of which
no picture, sound or word says anything; what is left is a whim, drawn for each viewer and title, that nothing
tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.training.world.factors import ARCS, GENRES, LEVELS, SETTINGS, SUBJECTS, TitleFactors

#: What feel is made of, as shares of its variance: a choice, most of it what no catalogue says.
FEEL_SHARES = {
    "arc": 0.2,
    "tension": 0.2,
    "pace": 0.2,
    "melody": 0.1,
    "setting": 0.15,
    "subject": 0.15,
}
WHIM = "whim"


@dataclass(frozen=True, slots=True)
class Taste:
    """What decides whether a title is liked: shares of the variance of affinity.

    `feel` of latent factors, `tags` of the genre; the rest up to 1 is a whim.

    Raises:
        ValueError: shares below 0, or of more than 1 together.
    """

    feel: float = 1.0
    tags: float = 0.0

    def __post_init__(self) -> None:
        if self.feel < 0 or self.tags < 0 or self.feel + self.tags > 1 + 1e-9:
            raise ValueError(
                f"a taste of feel {self.feel} and tags {self.tags}; expected shares that sum to 1 at most"
            )

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the variance by group of factors, and of `WHIM`; they sum to 1."""
        groups = {name: self.feel * share for name, share in FEEL_SHARES.items()}
        return {**groups, "genre": self.tags, WHIM: max(0.0, 1.0 - self.feel - self.tags)}


TASTE_FOR_FEEL = Taste(feel=1.0)
TASTE_FOR_TAGS = Taste(feel=0.0, tags=1.0)


@dataclass(frozen=True, slots=True)
class Viewers:
    """Viewers and the titles they may watch.

    Attributes:
        affinity: the truth, float32 [U, N]: of each viewer mean 0 and variance 1 over the titles.
        parts: the same by group of factors, each [U, N], before its share; standardised alike.
        taste: the shares of the parts.
    """

    affinity: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]]
    taste: Taste


def describe(titles: Sequence[TitleFactors]) -> dict[str, NDArray[np.float32]]:
    """Numbers of each group of factors, float32 [N, width of the group], each column with mean 0.

    Setting, subject, arc and genre: a column a value. Tension and pace: lowest and highest level of the span.
    Melody: the height after each step, in degrees.
    """
    levels = {
        "tension": np.array([title.tension_span for title in titles]) / (LEVELS - 1),
        "pace": np.array([title.pace_span for title in titles]) / (LEVELS - 1),
        "melody": np.cumsum([title.melody for title in titles], axis=1),
    }
    values = {
        "arc": (np.array([title.arc for title in titles]), len(ARCS)),
        "setting": (np.array([title.setting for title in titles]), len(SETTINGS)),
        "subject": (np.array([title.subject for title in titles]), len(SUBJECTS)),
        "genre": (np.array([title.genre for title in titles]), len(GENRES)),
    }
    columns = levels | {name: np.eye(width)[chosen] for name, (chosen, width) in values.items()}
    return {name: (found - found.mean(axis=0)).astype(np.float32) for name, found in columns.items()}


def draw_viewers(titles: Sequence[TitleFactors], viewers: int, taste: Taste, *, seed: int) -> Viewers:
    """Viewers of one kind of taste; the same seed gives the same viewers, whatever else is drawn.

    Raises:
        ValueError: fewer than two titles, or titles that are all alike in a group that counts.
    """
    if len(titles) < 2:
        raise ValueError(f"{len(titles)} titles; expected at least two, among which to like one better")
    described = describe(titles)
    parts: dict[str, NDArray[np.float32]] = {}
    affinity = np.zeros((viewers, len(titles)), np.float32)
    for at, (name, share) in enumerate(taste.shares.items()):
        if share == 0:
            continue
        rng = np.random.default_rng([seed, at])
        if name == WHIM:
            likes = rng.standard_normal((viewers, len(titles)), np.float32)
        else:
            x = described[name]
            likes = rng.standard_normal((viewers, x.shape[1]), np.float32) @ x.T  # (U, N)
        parts[name] = _standardised(likes, name)
        affinity += np.float32(np.sqrt(share)) * parts[name]
    return Viewers(_standardised(affinity, "affinity"), parts, taste)


def _standardised(likes: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Mean 0 and variance 1 in each row."""
    centred = likes - likes.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    if not (spread > 0).all():
        raise ValueError(f"all titles are alike in {name}; expected titles among which taste can choose")
    return centred / spread
