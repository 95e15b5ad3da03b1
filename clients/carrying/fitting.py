"""The move from one store's space to another's: fitted, chosen and measured on three parts of the titles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.carrying.matching import Matched
from resonance.clients.carrying.measuring import Loss, measure_loss
from resonance.clients.errors import UsageError
from resonance.space.blocks import split
from resonance.space.carrying import FEWEST_TITLES, Carrying, fit_carrying

#: Shares of the titles that the map is fitted on, and that its variant is chosen by; the rest tells the loss.
FITTED, CHOSEN_BY = 0.7, 0.15
#: Titles that neighbours are looked for among, at most: overlaps fall as a library grows, so that a floor
#: would mean another thing in each.
LIBRARY = 1000
#: Matched titles under which there is no move: of 100, 15 tell the loss, among which titles paired wrongly
#: came up to 0.17; of 150, up to 0.12 (docs/carrying.md).
FEWEST_MATCHED = 150
#: The ways to carry, the simplest first, which is taken where others are no better: (shared, centred).
VARIANTS = {
    "one rotation": (True, False),
    "one rotation, centred": (True, True),
    "a rotation a block": (False, False),
    "a rotation a block, centred": (False, True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """A fitted map and what it costs.

    Attributes:
        variant: of `VARIANTS`. chosen_by: share of the true new list that each found, over the titles that
            it was chosen by. fitted: titles it was fitted on. loss: over titles that neither has seen.
    """

    carrying: Carrying
    variant: str
    chosen_by: Mapping[str, float]
    fitted: int
    loss: Loss


def fit_move(matched: Matched, *, variant: str | None = None) -> Move:
    """Fit all variants, or the one that is named, take the best, and measure it.

    Raises:
        UsageError: too few titles, or an unknown variant.
        CarryingError: too few titles of a modality. BlockError: stored vectors that are none.
    """
    count = len(matched.media_ids)
    if count < FEWEST_MATCHED:
        raise UsageError(f"{count} titles stand in both stores unchanged; expected at least {FEWEST_MATCHED}")
    if variant is not None and variant not in VARIANTS:
        known = " or ".join(f"'{name}'" for name in VARIANTS)
        raise UsageError(f"no variant '{variant}'; expected {known}")
    fitted, chosen = round(FITTED * count), round((FITTED + CHOSEN_BY) * count)
    first, second, third = np.split(np.arange(count), (fitted, chosen))
    old_blocks, new_blocks = split(matched.old[first]), split(matched.new[first])
    present = matched.present[first]
    counts = present.sum(axis=0)
    maps, found = {}, {}
    for name, (shared, centred) in VARIANTS.items():
        possible = shared or counts.min() >= FEWEST_TITLES
        if variant == name or (variant is None and possible):
            maps[name] = fit_carrying(old_blocks, new_blocks, present, shared=shared, centred=centred)
            found[name] = _loss(maps[name], matched, second, first).true.value
    best = max(found, key=lambda name: found[name])
    return Move(maps[best], best, found, fitted, _loss(maps[best], matched, third, first))


def _loss(carrying: Carrying, matched: Matched, held_out: NDArray[np.intp], others: NDArray[np.intp]) -> Loss:
    """Over titles `held_out`, among themselves and as many `others` as there is room for in `LIBRARY`."""
    asked = held_out[:LIBRARY]
    rows = np.concatenate([asked, others[: LIBRARY - len(asked)]])
    old, new = (vectors[rows].astype(np.float64) for vectors in (matched.old, matched.new))
    return measure_loss(carrying, old, new, matched.present[rows], np.arange(len(asked)))
