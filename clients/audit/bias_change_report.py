"""The report of before and after: what became of each over-representation, and what the change cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from resonance.clients.audit.bias import BiasAudit
from resonance.clients.audit.bias_change import NEIGHBOURS, BiasChange
from resonance.clients.audit.bias_feeding import space_alerts
from resonance.clients.audit.bias_recall import RecallChange
from resonance.clients.audit.bias_report import why_untested
from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.metadata_plots import plot_intervals
from resonance.clients.audit.report import Limit, Measure, Report, Section
from resonance.clients.audit.representation import Against

#: Over-representations drawn, at most; all are in the table.
MOST_DRAWN = 12
#: What limits may be about.
MEASURES = (
    *("alerts before", "alerts after", "excess before", "excess after", "excess after/before"),
    *("excess of neighbours before", "excess of neighbours after", "excess of neighbours after/before"),
    *("clusters overlap", "neighbours shared", "recall@1 before", "recall@1 after", "recall@1 change"),
    *("recall@1 of the group before", "recall@1 of the group after"),
    *("recall@1 of the others before", "recall@1 of the others after"),
    *("group gap before", "group gap after"),
)
_EVEN = "in the space of before no group is over-represented in a cluster"
_NO_PLACE = "the new space has no cluster that shares titles of known group with that of before"
_NO_NEIGHBOURS = "no title of that cluster has neighbours of known group in both spaces"
_NO_RATIO = "the excess before may be none, so nothing is a share of it"
_COLUMNS = (
    *("group", "where before", "before", "before low", "before high", "where after", "overlap"),
    *("after", "after low", "after high", "after/before", "neighbours before", "neighbours after"),
)


def make_change_report(change: BiasChange, limits: Sequence[Limit] = ()) -> Report:
    """As JSON, text and HTML have it."""
    old, new = change.old.survey, change.new.survey
    facts: dict[str, Any] = {
        "store": new.uri,
        "fingerprint": new.space.fingerprint,
        "before": old.uri,
        "fingerprint_before": old.space.fingerprint,
        "titles_in_both": change.titles,
        "clusters_before": f"{old.clusters.count} by {old.clusters.method}",
        "clusters": f"{new.clusters.count} by {new.clusters.method}",
        "seed": change.old.settings.seed,
    }
    sections = (_excess(change), _cost(change), *_recall(change.recall))
    untested = _untested(change)
    notes = tuple(
        f"In clusters of the space of {when} nothing was tested, so no alert is told: {why}."
        for when, why in untested.items()
    )
    title = "Representation of groups, before and after"
    return Report(title, facts, sections, tuple(limits), notes, _missing(change, untested))


def _untested(change: BiasChange) -> dict[str, str]:
    """Why nothing was tested in the clusters of a space, by "before" and "after"; only where so it is."""
    return {
        when: why_untested(audit)
        for when, audit in (("before", change.old), ("after", change.new))
        if not _is_tested(audit)
    }


def _is_tested(audit: BiasAudit) -> bool:
    return any(one.cell.kind == "cluster" and one.cell.against == Against.LIBRARY for one in audit.findings)


def _missing(change: BiasChange, untested: Mapping[str, str]) -> dict[str, str]:
    """By measure, why it is not there; without a test there is neither an alert nor none."""
    told = {f"alerts {when}": f"nothing was tested: {why}" for when, why in untested.items()}
    if not change.moved:
        names = [name for name in MEASURES if name.startswith("excess") or name == "clusters overlap"]
        return {**dict.fromkeys(names, told.get("alerts before", _EVEN)), **told}
    first = change.moved[0]
    near = [f"excess of neighbours {what}" for what in ("before", "after", "after/before")]
    of_place = ("excess after", "excess after/before", "clusters overlap")
    told |= dict.fromkeys(of_place, _NO_RATIO if first.place is not None else _NO_PLACE)
    return told | dict.fromkeys(near, _NO_RATIO if first.near_before is not None else _NO_NEIGHBOURS)


def _measure(name: str, one: Estimate, about: str = "") -> Measure:
    return Measure(name, one.value, one.interval, about=about)


def _excess(change: BiasChange) -> Section:
    """Every over-representation of the old space; the surest as measures."""
    measures = [
        Measure(f"alerts {when}", float(len(space_alerts(audit))), about="over and under, in its clusters")
        for when, audit in (("before", change.old), ("after", change.new))
        if _is_tested(audit)  # a limit on alerts is broken where nothing was looked at
    ]
    rows = []
    for one in change.moved:
        cell = one.finding.cell
        after: tuple[Any, ...] = ("none", 0.0, "", "", "")
        if one.place is not None and one.after is not None:
            after = (one.place, one.overlap, one.after.value, *one.after.interval)
        rows.append(
            (
                *(f"{cell.dimension}={cell.group}", cell.place, one.before.value, *one.before.interval),
                *after,
                *(
                    "" if figure is None else figure.value
                    for figure in (one.ratio, one.near_before, one.near_after)
                ),
            )
        )
    if change.moved:
        first = change.moved[0]
        cell = first.finding.cell
        where = f"{cell.dimension}={cell.group} in {cell.place}"
        near = "excess of neighbours"
        told = (
            ("excess before", first.before, where),
            ("excess after", first.after, f"in {first.place}, which shares most titles with it"),
            (f"{near} before", first.near_before, f"of the titles of {cell.place}"),
            (f"{near} after", first.near_after, "of the same titles"),
            ("excess after/before", first.ratio, "0: gone, 1: as it was"),
            (f"{near} after/before", first.near_ratio, "without clusters, which move by themselves"),
        )
        measures += [_measure(name, one, about) for name, one, about in told if one is not None]
        if first.place is not None:
            about = "titles in both over titles in either, of known group"
            measures.append(Measure("clusters overlap", first.overlap, about=about))
    text = (
        "Excess: the share of a group in a cluster less its share among all titles of both stores. The "
        "cluster of after is that which shares most titles with the one of before; where they overlap "
        f"little, look at the neighbours: the excess among the {NEIGHBOURS} nearest neighbours of the "
        "titles of the cluster of before, in either space. Intervals: 95%, bootstrap over titles, which "
        "count as neighbours, too; clusters and neighbourhoods are taken as they are, though another "
        "training alone finds other clusters. The measures are of the surest alert before."
        if change.moved
        else f"{_EVEN[0].upper()}{_EVEN[1:]}, as far as was tested: there is nothing to compare."
    )
    figures = (_drawn(change),) if change.moved else ()
    return Section("Over-representation", text, tuple(measures), _COLUMNS, tuple(rows), figures)


def _drawn(change: BiasChange) -> Figure:
    figures = []
    for one in change.moved[:MOST_DRAWN]:
        cell = one.finding.cell
        told = (("before", cell.place, one.before), ("after", one.place, one.after))
        for when, place, figure in told:
            if figure is None:
                continue
            bounds = (100 * figure.interval[0], 100 * figure.interval[1])
            name = f"{when}, {place}: {cell.dimension}={cell.group}"
            figures.append((name, 100 * figure.value, bounds))
    return plot_intervals("Excess in points of a hundred", figures, line=0.0, line_label="even")


def _cost(change: BiasChange) -> Section:
    text = (
        f"Of the {NEIGHBOURS} nearest neighbours that a title had, so many it still has; a mean over titles "
        "drawn from the whole library. A change of space moves neighbours without any fairness term: compare "
        "with a space aligned without it."
    )
    return Section("Neighbours", text, (_measure("neighbours shared", change.shared),))


def _recall(recall: RecallChange | None) -> Iterator[Section]:
    if recall is None:
        yield Section("Recall", "The stores hold no segments of two modalities: recall cannot be measured.")
        return
    measures = [
        _measure("recall@1 before", recall.before),
        _measure("recall@1 after", recall.after),
        _measure("recall@1 change", recall.change, "of the same segments"),
    ]
    by_group = (
        ("recall@1 of the group before", recall.group_before),
        ("recall@1 of the group after", recall.group_after),
        ("recall@1 of the others before", recall.others_before),
        ("recall@1 of the others after", recall.others_after),
        ("group gap before", recall.gap_before),
        ("group gap after", recall.gap_after),
    )
    measures += [_measure(name, one) for name, one in by_group if one is not None]
    text = (
        "How often the block of one modality is nearest to that of another of its own segment, among "
        f"{recall.segments} segments of {recall.titles} titles; a mean over the pairs of modalities. "
        "Intervals: 95%, bootstrap over titles, the same draws before and after. Group: that of the surest "
        "alert; gap: the group's recall less the others'. Where heads were aligned on these very titles, "
        "recall on others is lower."
    )
    drawn = [(m.name, m.value, m.interval) for m in measures if m.interval and m.name.startswith("recall@1")]
    drawn = [one for one in drawn if one[0] != "recall@1 change"]
    yield Section("Recall", text, tuple(measures), figures=(plot_intervals("Recall@1", drawn),))
