"""Lists of recommendations whose truth is known, drawn as arrays: no titles, no vectors.

Some viewers like more of everything, so that the rows of one resemble each other. The score knows a part of
what a viewer likes better than other things; lists are in its order, with noise. Place k is seen once in k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACES = 10
_SHARPNESS = 4.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows as the audit's parts take them, all [R], and what is true of each had it been seen."""

    users: NDArray[np.int64]
    score: NDArray[np.float64]
    position: NDArray[np.int64]
    chance: NDArray[np.float64]
    clicked: NDArray[np.bool_]
    completion: NDArray[np.float64]
    would_click: NDArray[np.float64]
    would_watch: NDArray[np.float64]


def draw(viewers: int, lists: int, seed: int, *, all_seen: bool = False) -> Drawn:
    """What so many viewers did with so many lists each; `all_seen`: had they seen every place."""
    rng = np.random.default_rng([seed, viewers])
    shape = (viewers, lists, PLACES)
    keen = np.sqrt(0.3) * rng.standard_normal((viewers, 1, 1))
    taste = np.sqrt(0.7) * rng.standard_normal(shape)
    liked = keen + taste
    score = taste + 0.5 * rng.standard_normal(shape)
    order = np.argsort(-(score + 0.5 * rng.standard_normal(shape)), axis=-1)
    liked, score = (np.take_along_axis(part, order, axis=-1) for part in (liked, score))
    position = np.broadcast_to(np.arange(1, PLACES + 1), shape)
    chance = np.ones(shape) if all_seen else 1 / position
    would_click = 1 / (1 + np.exp(-(liked - 0.3)))
    would_watch = 1 / (1 + np.exp(-(liked + 0.3)))
    clicked = rng.random(shape) < chance * would_click
    watched = rng.beta(would_watch * _SHARPNESS, (1 - would_watch) * _SHARPNESS)
    users = np.broadcast_to(np.arange(viewers)[:, None, None], shape)
    return Drawn(
        users=users.reshape(-1).astype(np.int64),
        score=score.reshape(-1),
        position=position.reshape(-1).astype(np.int64),
        chance=chance.reshape(-1),
        clicked=clicked.reshape(-1),
        completion=np.where(clicked, watched, 0.0).reshape(-1),
        would_click=would_click.reshape(-1),
        would_watch=would_watch.reshape(-1),
    )
