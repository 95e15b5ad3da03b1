"""Which facts of a suggestion are reasons, and what may be said of them.

A block is a reason where its share lies above the usual one by at least the spread of such shares; the main
reason where it also has more than half of all that lies above the usual. A trait is named where both titles
lie in the same outer third and near each other. Everything else is left unsaid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resonance.clients.discovery.explanation import (
    BlockPart,
    HistoryFacts,
    PastPart,
    SuggestionFacts,
    Trait,
    Usual,
)

#: In spreads (standard deviations) above the mean: of a normal distribution a sixth lies beyond 1.
STANDS_OUT = 1.0
#: Shares that differ by less than this differ by rounding.
ROUNDING = 1e-9
#: How far from the middle both titles must lie: in the outer third. Near the middle a value says that neither
#: end is meant (docs/axes.md), and two titles that are alike in being ordinary are not alike in anything.
OUTER_THIRD = 2 / 3
#: How near to each other. Two places drawn evenly from 0 to 1 lie in the same outer third and this near in
#: 11% of cases: 2 ((1/3)^2 - (1/3 - 1/10)^2).
CLOSE = 0.1


@dataclass(frozen=True, slots=True)
class NamedTrait:
    """A trait worth naming; `high`: both titles lie towards its high end."""

    trait: Trait
    high: bool


@dataclass(frozen=True, slots=True)
class Reasons:
    """What may be said.

    Attributes:
        known: whether any block could be compared with other titles.
        above_usual: whether the whole score is above the usual one; None where a block could not be compared.
        blocks: that stand out, the one furthest above the usual first.
        mainly: the first of them has more than half of what is above the usual.
        axes, signals: worth naming, those furthest from the middle first.
        past: the title of the history that speaks most for B, if it stands out.
    """

    known: bool
    above_usual: bool | None
    blocks: tuple[BlockPart, ...]
    mainly: bool
    axes: tuple[NamedTrait, ...]
    signals: tuple[NamedTrait, ...]
    past: PastPart | None


def reasons_of(facts: SuggestionFacts) -> Reasons:
    """The reasons in some facts."""
    counted = [block for block in facts.blocks if block.weight > 0]
    excess = {b.modality: above(b.share, b.usual) for b in counted}
    outstanding = [b for b in counted if stands_out(b.share, b.usual)]
    outstanding.sort(key=lambda b: -(excess[b.modality] or 0.0))
    complete = all(value is not None for value in excess.values())
    positive = sum(max(value or 0.0, 0.0) for value in excess.values())
    return Reasons(
        known=any(value is not None for value in excess.values()),
        above_usual=sum(value or 0.0 for value in excess.values()) > ROUNDING if complete else None,
        blocks=tuple(outstanding),
        mainly=complete
        and bool(outstanding)
        and (excess[outstanding[0].modality] or 0.0) > positive / 2 + ROUNDING,
        axes=_named(facts.axes),
        signals=_named(facts.signals),
        past=past_reason(facts.history) if facts.history else None,
    )


def past_reason(history: HistoryFacts) -> PastPart | None:
    """The title of a history whose part is furthest above the usual, if it stands out."""
    best = max(history.parts, key=lambda past: above(past.part, past.usual) or 0.0, default=None)
    return best if best is not None and stands_out(best.part, best.usual) else None


def above(value: float, usual: Usual | None) -> float | None:
    """How far a number lies above the usual one."""
    return None if usual is None else value - usual.mean


def stands_out(value: float, usual: Usual | None) -> bool:
    """Whether a number lies so far above the usual one that it says something."""
    if usual is None:
        return False
    return value - usual.mean >= max(STANDS_OUT * usual.spread, ROUNDING)


def _named(traits: Iterable[Trait]) -> tuple[NamedTrait, ...]:
    found = []
    for trait in traits:
        if trait.a_place is None or trait.b_place is None or abs(trait.a_place - trait.b_place) > CLOSE:
            continue
        low, high = sorted((trait.a_place, trait.b_place))
        if low >= OUTER_THIRD:
            found.append((low, NamedTrait(trait, high=True)))
        elif high <= 1 - OUTER_THIRD:
            found.append((1 - high, NamedTrait(trait, high=False)))
    return tuple(named for _, named in sorted(found, key=lambda entry: (-entry[0], entry[1].trait.name)))
