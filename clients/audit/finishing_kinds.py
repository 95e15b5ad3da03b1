"""Which kinds of recommendation are clicked and abandoned.

Of the clicked rows of a kind the weighted share that was abandoned is held against that of all other clicked
rows. The difference of two ratios has the influence

    w (a - r_kind) / W_kind   in the kind,   - w (a - r_rest) / W_rest   outside,

summed by viewer and by title (`two_way`). A kind of which no click was abandoned has no influence, and yet
says little of the next one. So the error is at least that of clicks abandoned by lot, all at the rate r of
both together,

    sqrt(r (1 - r) (1 / n_kind + 1 / n_rest)),   n = (sum w)^2 / sum w^2 of each,

the standard error of the score test of two shares (Agresti, "Categorical Data Analysis", 3rd edition, 2013),
with n the effective size (Kish, "Survey Sampling", 1965). The interval is Student's with one
degree of freedom less than the kind or the rest has viewers or titles, whichever are fewest, at
1 - alpha / tests: all intervals of a report hold together with 95%, and a kind is found where its interval
leaves 0 out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resonance.clients.audit.finishing_curves import IntArray
from resonance.clients.audit.finishing_weights import effective_size
from resonance.clients.audit.logged_titles import Titles
from resonance.clients.audit.two_way import TwoWay, quantile
from resonance.space.blocks import BoolArray, FloatArray
from resonance.space.descriptor import MODALITIES

#: A kind is looked at where it and all others have so many clicks, viewers and titles: of fewer clusters the
#: standard error is too small for Student's law to mend.
LEAST_CLICKS, LEAST_VIEWERS, LEAST_TITLES = 50, 20, 8
#: Of more tags those of the most titles.
MOST_TAGS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Some rows, bool [R], by what they have in common: `family` such as tag, `name` such as noir."""

    family: str
    name: str
    rows: BoolArray


@dataclass(frozen=True, slots=True)
class KindFound:
    """A kind and what is to be thought of it.

    Attributes:
        clicks, viewers, titles: of its clicked rows of which it is known how far they were watched.
        abandoned, rest: weighted share of its clicks that was abandoned, and of all other clicks.
        unweighted: abandoned less rest, were all rows to count alike.
        interval: of abandoned less rest, corrected for all kinds of the report.
        click_rate, rest_click_rate: clicks a row had it been seen; NaN where all rows were clicked.
    """

    family: str
    name: str
    clicks: int
    viewers: int
    titles: int
    abandoned: float
    rest: float
    unweighted: float
    interval: tuple[float, float]
    click_rate: float
    rest_click_rate: float

    @property
    def difference(self) -> float:
        """Abandoned less rest."""
        return self.abandoned - self.rest

    @property
    def is_abandoned(self) -> bool:
        """Surely abandoned more than the rest."""
        return self.interval[0] > 0

    @property
    def is_finished(self) -> bool:
        """Surely abandoned less than the rest."""
        return self.interval[1] < 0


def make_kinds(titles: Titles, row_titles: IntArray, shares: FloatArray) -> Iterator[Kind]:
    """Kinds of rows [R]: by the block that carried the score, by axis, by tag, by group.

    A block carried a score where its share lies highest above its mean over the rows, in standard deviations.
    An axis has its lowest and its highest third of the titles.

    Args:
        row_titles: of each row, [R].
        shares: see `finishing_taste.taste_shares`, [R, 3]; NaN in blocks that are not real.
    """
    carrier = carried_by(shares)
    for at, name in enumerate(MODALITIES):
        yield Kind("carried by", name, carrier == at)
    for at, name in enumerate(titles.axis_names):
        values = titles.axes[:, at]
        if not np.isfinite(values).any():
            continue
        low, high = np.nanquantile(values, [1 / 3, 2 / 3])
        yield Kind("axis", f"{name} low", (values < low)[row_titles])
        yield Kind("axis", f"{name} high", (values > high)[row_titles])
    carriers: dict[str, list[int]] = {}
    for at, own in enumerate(titles.tags):
        for tag in own:
            carriers.setdefault(tag, []).append(at)
    common = sorted(carriers, key=lambda tag: (-len(carriers[tag]), tag))[:MOST_TAGS]
    for tag in common:
        yield Kind("tag", tag, _of_titles(carriers[tag], titles, row_titles))
    for family, groups in titles.groups.items():
        for group in sorted({group for group in groups if group}):
            places = [at for at, own in enumerate(groups) if own == group]
            yield Kind(family, group, _of_titles(places, titles, row_titles))


def carried_by(shares: FloatArray) -> IntArray:
    """The block that carried each score, int64 [R] of shares [R, 3]; NaN carries none, -1: all are."""
    known = np.isfinite(shares)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, shares, 0).sum(axis=0) / counts
    spread = np.sqrt(np.where(known, (shares - mean) ** 2, 0).sum(axis=0) / counts)
    above = np.where(known, (shares - mean) / np.maximum(spread, 1e-12), -np.inf)
    return np.where(known.any(axis=1), np.argmax(above, axis=1), -1)


def judge_kinds(
    kinds: Sequence[Kind],
    *,
    users: IntArray,
    titles: IntArray,
    clicked: BoolArray,
    abandoned: BoolArray,
    weights: FloatArray,
    watched: BoolArray | None = None,
) -> list[KindFound]:
    """Those that have enough clicks, the most abandoned first. All [R]; only clicked rows are judged.

    Args:
        abandoned: of the clicked rows. weights: see `finishing_weights`.
        watched: clicked rows of which it is known how far; None: all. They alone are judged, while click
            rates are of all that were clicked.
    """
    known = clicked if watched is None else watched
    u, t, a, w = users[known], titles[known], abandoned[known].astype(np.float64), weights[known]
    chosen = [kind for kind in kinds if _enough(kind.rows[known], u, t)]
    clusters = TwoWay(u, t)
    found = [_judge(kind, clusters, u, t, a, w, known, clicked, weights, len(chosen)) for kind in chosen]
    return sorted(found, key=lambda one: -one.interval[0])


def _judge(
    kind: Kind,
    clusters: TwoWay,
    users: IntArray,
    titles: IntArray,
    abandoned: FloatArray,
    weights: FloatArray,
    known: BoolArray,
    clicked: BoolArray,
    all_weights: FloatArray,
    tests: int,
) -> KindFound:
    inside = kind.rows[known]
    mine, others = np.where(inside, weights, 0.0), np.where(inside, 0.0, weights)
    rate, rest = (float(w @ abandoned / w.sum()) for w in (mine, others))
    influence = mine * (abandoned - rate) / mine.sum() - others * (abandoned - rest) / others.sum()
    viewers, own_titles = (len(np.unique(codes[inside])) for codes in (users, titles))
    # the error is as uncertain as that of the side of fewer clusters, whichever it is
    fewest = min(viewers, own_titles, *(len(np.unique(codes[~inside])) for codes in (users, titles)))
    pooled = float(weights @ abandoned / weights.sum())
    by_lot = np.sqrt(pooled * (1 - pooled) * sum(1 / effective_size(w) for w in (mine, others)))
    half = quantile(fewest, tests) * max(clusters.error(influence), by_lot)
    difference = rate - rest
    rates = [np.nan, np.nan]
    if not clicked.all():
        rates = [float(all_weights[clicked & r].sum() / r.sum()) for r in (kind.rows, ~kind.rows)]
    return KindFound(
        family=kind.family,
        name=kind.name,
        clicks=int(inside.sum()),
        viewers=viewers,
        titles=own_titles,
        abandoned=rate,
        rest=rest,
        unweighted=float(abandoned[inside].mean() - abandoned[~inside].mean()),
        interval=(difference - half, difference + half),
        click_rate=rates[0],
        rest_click_rate=rates[1],
    )


def _enough(inside: BoolArray, users: IntArray, titles: IntArray) -> bool:
    return all(
        side.sum() >= LEAST_CLICKS
        and len(np.unique(users[side])) >= LEAST_VIEWERS
        and len(np.unique(titles[side])) >= LEAST_TITLES
        for side in (inside, ~inside)
    )


def _of_titles(places: list[int], titles: Titles, row_titles: IntArray) -> BoolArray:
    mine = np.zeros(len(titles.known), np.bool_)
    mine[places] = True
    return mine[row_titles]
