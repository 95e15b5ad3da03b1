"""The same titles in two spaces: what became of each over-representation, and what the change cost.

Each space has clusters of its own, so a cluster of the old one is compared with that of the new one which
shares most titles with it; and, without any cluster, by the neighbours that its titles have in either space.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from resonance.clients.audit.bias import BiasAudit, audit_bias, mirrored, untested_twin
from resonance.clients.audit.bias_feeding import space_alerts
from resonance.clients.audit.bias_recall import RecallChange, measure_recall
from resonance.clients.audit.bias_survey import BiasSettings
from resonance.clients.audit.estimates import DRAWS, Estimate, estimate, of_draws
from resonance.clients.audit.groups import UNKNOWN, Dimension
from resonance.clients.audit.nearest import nearest_rows
from resonance.clients.audit.representation import Finding
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_store
from resonance.space.blocks import BoolArray

Rows = NDArray[np.int64]

#: Neighbours of a title that are compared; titles that are asked, of a cluster and of the whole library.
NEIGHBOURS, ASKED = 20, 300
#: Draws whose sums over neighbours are held at once.
_DRAWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Moved:
    """An over-represented group of the old space, before and after.

    Attributes:
        finding: the alert in the old space. place, overlap: the cluster of the new one that shares most
            titles with the old one, and how many: those in both over those in either (Jaccard), of titles
            whose group is known. None and 0 where none shares any, as where there is no cluster.
        before, after: share of the group in the cluster less its share of the titles in both stores.
            Intervals: bootstrap over titles. after: None without a `place`. ratio: after over before; None
            where `before` may be 0, too.
        near_before, near_after, near_ratio: the same among the 20 nearest neighbours of the old cluster's
            titles, in either space. None where no title has a neighbour of known group in both.
    """

    finding: Finding
    place: str | None
    overlap: float
    before: Estimate
    after: Estimate | None
    ratio: Estimate | None
    near_before: Estimate | None
    near_after: Estimate | None
    near_ratio: Estimate | None


@dataclass(frozen=True, slots=True)
class BiasChange:
    """Two audits of the same titles, and what lies between them.

    Attributes:
        titles: those in both stores. moved: the surest alert of the old space first.
        shared: of a title's 20 neighbours in the old space, the share that still are in the new one.
        recall: None where the stores hold no segments of two modalities.
    """

    old: BiasAudit
    new: BiasAudit
    titles: int
    moved: tuple[Moved, ...]
    shared: Estimate
    recall: RecallChange | None


def audit_change(uri: str, before: str, settings: BiasSettings) -> BiasChange:
    """Audit `before` and `uri`, and compare them. Blocks.

    Raises:
        UsageError: see `audit_bias`; or fewer than two titles are in both stores.
        StoreError: a store cannot be read.
    """
    if settings.queries:
        raise UsageError("queries beside a store of before; expected one or the other")
    plain = replace(settings, time=None)
    old, new = audit_bias(before, plain), audit_bias(uri, plain)
    old_names, new_names = _names(before), _names(uri)
    place_of = {name: at for at, name in enumerate(new_names)}
    pairs = [(at, place_of[name]) for at, name in enumerate(old_names) if name in place_of]
    if len(pairs) < 2:
        raise UsageError(f"{uri} and {before} have {len(pairs)} titles in common; expected the same titles")
    old_rows, new_rows = np.array(pairs, np.int64).T
    alerts = [
        one
        for one in _over_represented(old)
        if _known_inside(old, one)[old_rows].sum() >= settings.least_titles  # of those in both stores
    ]
    chance = np.random.default_rng(settings.seed)
    everyone = _drawn(np.arange(len(pairs)), chance)
    asked = [everyone]
    for one in alerts:
        asked.append(_drawn(np.flatnonzero(_inside(old, one.cell.place)[old_rows]), chance))
    near_old, near_new = (
        _neighbours(store, rows, asked) for store, rows in ((before, old_rows), (uri, new_rows))
    )
    moved = [
        _moved(one, old, new, old_rows, new_rows, asked[at], (near_old[at], near_new[at]), chance)
        for at, one in enumerate(alerts, 1)
    ]
    shared = [
        len(np.intersect1d(a[a >= 0], b[b >= 0])) / len(a)
        for a, b in zip(near_old[0], near_new[0], strict=True)
    ]
    group = None
    if alerts:
        group = _of_group(_dimension(old, alerts[0]), alerts[0])[old_rows]
    names = [old_names[at] for at in old_rows]
    recall = measure_recall(before, uri, names, group, chance)
    return BiasChange(old, new, len(pairs), tuple(moved), estimate(np.array(shared), chance), recall)


def _over_represented(audit: BiasAudit) -> list[Finding]:
    """Alerts of what there is too much of in a cluster, the surest first.

    Of two groups the rarer alone is tested. Where it stands out nowhere and lacks somewhere, the commoner has
    too much there; they come last.
    """
    alerts = space_alerts(audit)
    over = [one for one in alerts if one.deviation > 0]
    for dimension in audit.survey.dimensions:
        commoner = untested_twin(audit.survey, dimension)
        if commoner is not None and not any(one.cell.dimension == dimension.name for one in over):
            over += [mirrored(one, commoner) for one in alerts if one.cell.dimension == dimension.name]
    return over


def _names(uri: str) -> list[str]:
    with closing(open_store(uri)) as store:
        return [name for batch in store.titles(["media_id"]) for name in batch["media_id"].to_pylist()]


def _drawn(rows: Rows, chance: np.random.Generator) -> Rows:
    return np.sort(chance.permutation(rows)[:ASKED])


def _neighbours(uri: str, rows: Rows, asked: Sequence[Rows]) -> list[Rows]:
    """The neighbours of each asked title, int64 [n, 20] a set, as places among the titles in both stores; -1
    for one that is in this store alone. rows: of the titles in both stores, [N]; asked: places among them."""
    everyone = np.unique(np.concatenate(asked))
    with closing(open_store(uri)) as store:
        near = nearest_rows(store, rows[everyone], NEIGHBOURS)  # (n, 20) rows of this store
    common = np.full(int(max(near.max(), rows.max())) + 1, -1)
    common[rows] = np.arange(len(rows))
    return [common[near[np.searchsorted(everyone, one)]] for one in asked]


def _dimension(audit: BiasAudit, finding: Finding) -> Dimension:
    return next(one for one in audit.survey.dimensions if one.name == finding.cell.dimension)


def _inside(audit: BiasAudit, place: str) -> BoolArray:
    places = audit.survey.clusters.places
    return np.asarray(places.codes == places.groups.index(place))


def _known_inside(audit: BiasAudit, finding: Finding) -> BoolArray:
    known: BoolArray = _dimension(audit, finding).codes != UNKNOWN
    return _inside(audit, finding.cell.place) & known


def _of_group(dimension: Dimension, finding: Finding) -> NDArray[np.float64]:
    """1 of the finding's group, 0 of another, NaN where it is not known; float64 [N]."""
    of = np.where(dimension.codes == dimension.groups.index(finding.cell.group), 1.0, 0.0)
    return np.where(dimension.codes == UNKNOWN, np.nan, of)


def _moved(
    finding: Finding,
    old: BiasAudit,
    new: BiasAudit,
    old_rows: Rows,
    new_rows: Rows,
    asked: Rows,
    near: tuple[Rows, Rows],
    chance: np.random.Generator,
) -> Moved:
    inside = _inside(old, finding.cell.place)[old_rows]
    places = new.survey.clusters.places
    codes = places.codes[new_rows]
    group = _of_group(_dimension(old, finding), finding)[old_rows]
    known = ~np.isnan(group)
    counts = np.bincount(codes[known], minlength=len(places.groups) + 1)
    both = np.bincount(codes[known & inside], minlength=len(places.groups) + 1)
    # the last count is of titles that are in no place: all, where no cluster was found
    overlap = (both / np.maximum(counts + (known & inside).sum() - both, 1))[: len(places.groups)]
    best = int(overlap.argmax()) if overlap.any() else None
    before, after, ratio = _excesses(group, inside, None if best is None else codes == best, chance)
    near_before, near_after, near_ratio = _near_excesses(group, asked, near, chance)
    return Moved(
        finding=finding,
        place=None if best is None else places.groups[best],
        overlap=0.0 if best is None else float(overlap[best]),
        before=before,
        after=after,
        ratio=ratio,
        near_before=near_before,
        near_after=near_after,
        near_ratio=near_ratio,
    )


def _near_excesses(
    group: NDArray[np.float64], asked: Rows, near: tuple[Rows, Rows], chance: np.random.Generator
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """Before, after and their ratio among the neighbours of the same titles in either space, [n, 20] each.

    Titles of the library are drawn anew `DRAWS` times, and count as often as they were drawn: as asked, as
    neighbours and among all. To draw the asked alone would take the groups of their neighbours as certain:
    those are few, and near to many. Who is near whom stands, as clusters do.

    Args:
        group: of all N titles, NaN where it is not known. asked: places among them, [n]. near: theirs; -1:
            none.
    """
    known = ~np.isnan(group)
    kept = np.all([(known[rows] & (rows >= 0)).any(1) for rows in near], axis=0)
    if not kept.any():
        return None, None, None
    asked, near = asked[kept], (near[0][kept], near[1][kept])
    # all others are of three kinds: of the group, of another, not known
    those = np.unique(np.concatenate([asked, *(rows[rows >= 0] for rows in near)]))
    kinds = np.where(known, group, 2).astype(np.int64)
    others = np.bincount(np.delete(kinds, those), minlength=3)
    counts = np.array([len(those), *others])
    neighbours = [_sums(those, rows, known) for rows in near]
    values = []
    for first in range(0, 1 + DRAWS, _DRAWS_AT_ONCE):
        # how many of each kind, then which of those: they are equally likely
        drawn = chance.multinomial(
            len(group), counts / len(group), min(_DRAWS_AT_ONCE, 1 + DRAWS - first)
        )  # (d, 4)
        which = [np.bincount(chance.integers(len(those), size=n), minlength=len(those)) for n in drawn[:, 0]]
        times = np.stack(which, axis=1).astype(np.float64)  # (M, d)
        if not first:  # the figures themselves
            drawn[0], times[:, 0] = counts, 1.0
        of = times * np.where(known, group, 0)[those, None]
        of_all = of.sum(0) + drawn[:, -2]
        not_of = (times[known[those]] - of[known[those]]).sum(0) + drawn[:, -3]
        with np.errstate(invalid="ignore"):  # none of known group
            base = of_all / (of_all + not_of)
        weights = times[np.searchsorted(those, asked)]  # (n, d)
        values.append([_mean_share(one @ of, one @ times, weights) - base for one in neighbours])
    before, after = np.concatenate(values, axis=1)
    told = of_draws(before)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = of_draws(after / before) if told.interval[0] > 0 else None
    return told, of_draws(after), ratio


def _sums(those: Rows, near: Rows, known: BoolArray) -> csr_array:
    """What sums over each title's neighbours of known group, sparse [n, M]; near: [n, 20], places in `those`
    by their number."""
    counted = (near >= 0) & known[near]
    columns = np.searchsorted(those, near[counted])
    starts = np.concatenate([[0], np.cumsum(counted.sum(1))])
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(near), len(those)))


def _mean_share(
    of: NDArray[np.float64], counted: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean of of / counted over the first axis by weights, [n, d] each, of those that count any; [d]."""
    weights = np.where(counted > 0, weights, 0)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = (weights * of / np.maximum(counted, 1)).sum(0) / weights.sum(0)
    return mean


def _excesses(
    group: NDArray[np.float64],
    inside_old: BoolArray,
    inside_new: BoolArray | None,
    chance: np.random.Generator,
) -> tuple[Estimate, Estimate | None, Estimate | None]:
    """Before, after and their ratio, with intervals: titles are drawn anew `DRAWS` times, clusters stand.

    inside_new: None where there is no such cluster, and so neither after nor ratio.

    A title counts by three facts alone, so a draw of titles is a draw of the eight counts.
    """
    known = ~np.isnan(group)
    there = np.zeros_like(inside_old) if inside_new is None else inside_new
    cell = 4 * inside_old[known] + 2 * there[known] + group[known].astype(np.int64)
    counts = np.bincount(cell.astype(np.int64), minlength=8)
    drawn = np.concatenate([counts[None], chance.multinomial(counts.sum(), counts / counts.sum(), DRAWS)])
    table = drawn.reshape(-1, 2, 2, 2)  # (draw, old, new, group)
    share = table[..., 1].sum((1, 2)) / table.sum((1, 2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        before = table[:, 1, :, 1].sum(1) / table[:, 1].sum((1, 2)) - share
        after = table[:, :, 1, 1].sum(1) / table[:, :, 1].sum((1, 2)) - share
        ratio = after / before
    told = of_draws(before)
    if inside_new is None:
        return told, None, None
    # a share of what may be nothing says nothing
    return told, of_draws(after), of_draws(ratio) if told.interval[0] > 0 else None
