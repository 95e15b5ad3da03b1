"""Why a title was suggested, as numbers: the score's shares, what is usual, the moments most alike.

Every number is part of the score's arithmetic or stands beside it under a name of its own: the shares sum
to the score; `usual` is the mean of the same share over a sample of the library; a moment is the pair of
segments that the same arithmetic scores highest. Axes and signals are compared, not scored. What of it is
worth saying is decided in `resonance.clients.discovery.reasons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resonance.clients.discovery.sample import LEAST_COMPARED, LibrarySample, place_among, title_signals
from resonance.clients.discovery.taste import Taste
from resonance.clients.discovery.types import FoundTitle, StoredTitle
from resonance.clients.errors import UsageError
from resonance.clients.results import Segment
from resonance.space.blocks import FloatArray
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH, Descriptor
from resonance.space.pairs import best_pair
from resonance.space.scores import Weights, explain, query_from_vector
from resonance.space.taste import Blend


@dataclass(frozen=True, slots=True)
class Usual:
    """What a number is with other titles: its mean and standard deviation over so many `titles`."""

    mean: float
    spread: float
    titles: int

    @classmethod
    def of(cls, values: FloatArray) -> Usual | None:
        """Of a number of each title; None where they are too few."""
        if len(values) < LEAST_COMPARED:
            return None
        return cls(float(values.mean()), float(values.std(ddof=1)), len(values))


@dataclass(frozen=True, slots=True)
class Moment:
    """A pair of segments and its score; times are None for text without a clock."""

    score: float
    a_index: int
    a_start_s: float | None
    a_end_s: float | None
    b_index: int
    b_start_s: float | None
    b_end_s: float | None


@dataclass(frozen=True, slots=True)
class BlockPart:
    """One block's part of the score.

    Attributes:
        share: with all shares it sums to the score. weight: of the block in it.
        usual: of the same query with titles of the sample that have, or lack, the modality as B does: an
            inferred block lies elsewhere in the space than a real one. None where they are too few.
        a_inferred, b_inferred: the title lacks the modality, its block was inferred.
        moment: the segments most alike in this block alone; None where a title has no such segment, or where
            it was not looked for.
    """

    modality: str
    share: float
    weight: float
    usual: Usual | None
    a_inferred: bool
    b_inferred: bool
    moment: Moment | None


@dataclass(frozen=True, slots=True)
class Trait:
    """An axis, or a measured signal, of both titles.

    Attributes:
        a, b: values: of an axis 0 to 1, of a signal in its unit.
        a_place, b_place: 0 to 1, 0.5 in the middle: of an axis the value itself, of a signal the share of the
            sampled titles below it, see `place_among`. None where the sample is too small.
        low, high: labels of an axis' ends; None of a signal.
    """

    name: str
    a: float
    b: float
    a_place: float | None
    b_place: float | None
    low: str | None = None
    high: str | None = None


@dataclass(frozen=True, slots=True)
class PastPart:
    """What one title of the history brings to the score of B.

    Attributes:
        share: of the title in the taste, signed. blocks: its part of the score by block; `part` is their sum.
        usual: of `part` over titles of the sample with B's modalities; None where they are too few.
    """

    media_id: str
    share: float
    part: float
    blocks: tuple[float, float, float]
    usual: Usual | None


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """The score of B for a taste: the sum of its parts, the largest share of the history first."""

    score: float
    parts: tuple[PastPart, ...]


@dataclass(frozen=True, slots=True)
class SuggestionFacts:
    """Why B is suggested after A; `score` is that of B for the query "like A", the sum of the blocks' shares.

    Attributes:
        sampled: titles of the library that were compared with. moment: the segments most alike over all
            blocks, as they are weighted; None where a title has no segments, or where it was not looked for.
    """

    a: str
    b: str
    score: float
    blocks: tuple[BlockPart, ...]
    moment: Moment | None
    axes: tuple[Trait, ...]
    signals: tuple[Trait, ...]
    sampled: int
    history: HistoryFacts | None = None


def explain_suggestion(
    a: StoredTitle,
    b: StoredTitle,
    weights: Weights,
    descriptor: Descriptor,
    sample: LibrarySample,
    taste: tuple[Taste, Blend] | None = None,
    *,
    moments: bool = True,
) -> SuggestionFacts:
    """Why `b` is suggested after `a`; with `taste` (of `make_taste`) also what the history says of it.

    `a`, `b` and the titles of the history are left out of `sample`.

    Args:
        moments: look for the segments most alike, which compares each of `a` with each of `b`; else they are
            None.

    Raises:
        UsageError: the two titles are one. SpaceError: vectors or weights that cannot be scored.
    """
    names = {a.facts.media_id, b.facts.media_id}
    if len(names) < 2:
        raise UsageError(f"'{a.facts.media_id}' beside itself; expected two titles")
    past = {counted.media_id for counted in taste[0].counted} if taste else set()
    others = sample.without(names | past)
    query = query_from_vector(a.vector, descriptor)
    told = explain(query, weights, b.vector, list(b.facts.present))
    shares = others.shares(query, weights)
    blocks = tuple(
        BlockPart(
            modality=share.modality,
            share=share.value,
            weight=float(weights.array()[m]),
            usual=Usual.of(shares[others.present[:, m] == b.facts.present[m], m]),
            a_inferred=not a.facts.present[m],
            b_inferred=share.inferred,
            moment=_moment_of_block(m, a, b, weights, descriptor) if moments else None,
        )
        for m, share in enumerate(told.shares)
    )
    return SuggestionFacts(
        a=a.facts.media_id,
        b=b.facts.media_id,
        score=told.score,
        blocks=blocks,
        moment=_moment(a.segments, b.segments, weights, descriptor) if moments else None,
        axes=_axes(a, b),
        signals=_signals(a, b, others),
        sampled=len(others.media_ids),
        history=None if taste is None else history_facts([b], weights, others, *taste)[0],
    )


def history_facts(
    titles: Sequence[FoundTitle | StoredTitle],
    weights: Weights,
    sample: LibrarySample,
    taste: Taste,
    blend: Blend,
) -> list[HistoryFacts]:
    """The score of each title for a taste and its parts (both of `make_taste`).

    The history is weighed once for all of them, for it may be long. The title itself and the history are left
    out of `sample`.

    Raises:
        SpaceError: vectors or weights that cannot be scored.
    """
    others = sample.without({counted.media_id for counted in taste.counted})
    vectors = np.array([title.vector for title in titles], np.float32).reshape(-1, TITLE_WIDTH)
    parts = blend.contributions(weights, vectors)  # (titles, n, 3)
    usual = blend.contributions(weights, others.vectors).sum(axis=-1)  # (sampled, n)
    names = np.array(others.media_ids, object)
    found = []
    for title, of_title in zip(titles, parts, strict=True):
        alike = (others.present == np.array(title.facts.present)).all(axis=1)
        compared = usual[alike & (names != title.facts.media_id)]
        found.append(_history_facts(taste, of_title, compared))
    return found


def _history_facts(taste: Taste, parts: FloatArray, compared: FloatArray) -> HistoryFacts:
    """Of a title's parts [n, 3]; compared: those of the titles it is compared with, summed, [titles, n]."""
    usual: list[Usual | None] = [None] * len(parts)
    if len(compared) >= LEAST_COMPARED:
        means, spreads = compared.mean(axis=0).tolist(), compared.std(axis=0, ddof=1).tolist()
        usual = [Usual(mean, spread, len(compared)) for mean, spread in zip(means, spreads, strict=True)]
    found = tuple(
        PastPart(counted.media_id, counted.share, sum(blocks), blocks, usually)
        for counted, blocks, usually in zip(taste.counted, map(_triple, parts.tolist()), usual, strict=True)
    )
    return HistoryFacts(sum(past.part for past in found), found)


def _triple(blocks: list[float]) -> tuple[float, float, float]:
    visual, audio, transcript = blocks
    return visual, audio, transcript


def _moment_of_block(
    m: int, a: StoredTitle, b: StoredTitle, weights: Weights, descriptor: Descriptor
) -> Moment | None:
    """Of segments that really have the modality."""
    weight = float(weights.array()[m])
    if weight == 0:
        return None
    alone = Weights.from_mapping({name: weight if i == m else 0.0 for i, name in enumerate(MODALITIES)})
    of_a, of_b = ([s for s in title.segments if s.present[m]] for title in (a, b))
    return _moment(of_a, of_b, alone, descriptor)


def _moment(
    of_a: Sequence[Segment], of_b: Sequence[Segment], weights: Weights, descriptor: Descriptor
) -> Moment | None:
    if not of_a or not of_b:
        return None
    rows = [np.stack([s.vector for s in segments]) for segments in (of_a, of_b)]  # (n, 1788) each
    pair = best_pair(rows[0], rows[1], weights, descriptor)
    x, y = of_a[pair.query], of_b[pair.title]
    return Moment(pair.score, x.index, x.start_s, x.end_s, y.index, y.start_s, y.end_s)


def _axes(a: StoredTitle, b: StoredTitle) -> tuple[Trait, ...]:
    """Of both titles. Axes can be edited without a new space, so one of the same name may have been another
    when the other title was measured: its labels tell."""
    found = []
    for name, of_a in a.facts.axes.items():
        of_b = b.facts.axes.get(name)
        if of_b is not None and (of_a.low, of_a.high) == (of_b.low, of_b.high):
            found.append(Trait(name, of_a.value, of_b.value, of_a.value, of_b.value, of_a.low, of_a.high))
    return tuple(found)


def _signals(a: StoredTitle, b: StoredTitle, others: LibrarySample) -> tuple[Trait, ...]:
    of_a, of_b = title_signals(a), title_signals(b)
    found = []
    for name, x in of_a.items():
        if name in of_b:
            y, sampled = of_b[name], others.signals.get(name, np.zeros(0))
            found.append(Trait(name, x, y, place_among(sampled, x), place_among(sampled, y)))
    return tuple(found)
