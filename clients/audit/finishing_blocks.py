"""What each block and each axis has to do with finishing.

Completion is set against a block's share of the score, and against the title's value on an axis. Of what
differs between scores block m makes

    cov(share_m, score) / var(score)

which sums to 1 over the blocks, since the score is the sum of the shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resonance.clients.audit.finishing_curves import Estimate, Pairs, curve, rank_correlations
from resonance.clients.audit.finishing_kinds import carried_by
from resonance.clients.audit.finishing_rows import FinishingRows, FinishingSettings
from resonance.clients.audit.logged_titles import Titles
from resonance.space.descriptor import MODALITIES

#: Blocks are looked at where so many clicks have a score by taste.
LEAST_CLICKS = 100


@dataclass(frozen=True, slots=True)
class BlockFound:
    """One block.

    Attributes:
        spread_share: of what differs between scores by taste, the part that this block makes.
        correlation: ranks of its share of the score and of completion, of what was clicked; the intervals of
            the three hold together, over viewers and titles. None where the share does not vary.
        completion: of what was clicked where this block carried the score; None where it carried none.
        carried: clicks where it did.
    """

    name: str
    spread_share: float
    correlation: Estimate | None
    completion: Estimate | None
    carried: int


@dataclass(frozen=True, slots=True)
class AxisFound:
    """An axis; correlation: ranks of the title's value and of completion, of what was clicked, corrected."""

    name: str
    correlation: Estimate


def clicked_pairs(rows: FinishingRows) -> Pairs:
    """How far each clicked row was watched, of those of which it is known."""
    chosen = rows.watched
    return Pairs(rows.users[chosen], rows.titles[chosen], rows.completion[chosen], rows.weights[chosen])


def find_blocks(
    rows: FinishingRows, settings: FinishingSettings, tell: Callable[[str], None]
) -> tuple[BlockFound, ...]:
    """All three, or none where too few clicks have a score by taste.

    Titles are drawn as well as viewers: much of a share is the title's, how typical its block is.
    """
    known = np.isfinite(rows.shares)
    scored = known.any(axis=1)
    if (scored & rows.watched).sum() < LEAST_CLICKS:
        return ()
    parts = np.where(known, rows.shares, 0.0)[scored]  # (r, 3)
    away, scores = parts - parts.mean(axis=0), parts.sum(axis=1)
    spread = float(scores.var())
    correlations = rank_correlations(
        clicked_pairs(rows),
        list(rows.shares[rows.watched].T),
        draws=settings.draws,
        seed=settings.seed,
        tests=len(MODALITIES),
        over_titles=True,
        told=lambda done: tell(f"blocks: {done:,} of {len(MODALITIES) * settings.draws:,} draws"),
    )
    carrier = carried_by(rows.shares)
    found = []
    for at, name in enumerate(MODALITIES):
        mine = rows.watched & (carrier == at)
        carried = None
        if mine.any():
            count = int(mine.sum())
            carried = curve(
                rows.score[mine],
                np.zeros(count, np.int64),
                rows.users[mine],
                rows.completion[mine],
                rows.weights[mine],
                np.ones(count, np.bool_),
                draws=settings.draws,
                seed=settings.seed,
                refit=None if rows.fit is None else rows.fit.take(mine),
            ).all
        together = float((away[:, at] * (scores - scores.mean())).mean())
        varies = np.isfinite(correlations[at].value)
        found.append(
            BlockFound(
                name,
                together / spread if spread > 0 else 0.0,
                correlations[at] if varies else None,
                carried,
                int(mine.sum()),
            )
        )
    return tuple(found)


def find_axes(
    rows: FinishingRows, titles: Titles, settings: FinishingSettings, tell: Callable[[str], None]
) -> tuple[AxisFound, ...]:
    """Each axis of the store's titles on which they differ. Titles are drawn as well as viewers."""
    columns = [titles.axes[rows.titles[rows.watched], at] for at in range(len(titles.axis_names))]
    total = len(columns) * settings.draws
    found = rank_correlations(
        clicked_pairs(rows),
        columns,
        draws=settings.draws,
        seed=settings.seed,
        tests=max(len(columns), 1),
        over_titles=True,
        told=lambda done: tell(f"axes: {done:,} of {total:,} draws"),
    )
    return tuple(
        AxisFound(name, one)
        for name, one in zip(titles.axis_names, found, strict=True)
        if np.isfinite(one.value)
    )
