"""The report of an audit of representation: alerts, groups by place, time, and what could have been seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from resonance.clients.audit.bias import BiasAudit, untested_findings
from resonance.clients.audit.bias_plots import plot_places, plot_surest, plot_time
from resonance.clients.audit.groups import UNKNOWN, Dimension
from resonance.clients.audit.report import Limit, Measure, Report, Section
from resonance.clients.audit.representation import (
    Against,
    Correction,
    Finding,
    clopper_pearson,
    least_found,
    usual_range,
)
from resonance.clients.ingest.types import DATE_ATTRIBUTE

#: Alerts told in full; all are counted.
MOST_ALERTS = 100
ALERT_COLUMNS = (
    *("group", "where", "against", "titles", "of", "share", "expected", "low", "high"),
    *("chance low", "chance high", "p", "adjusted p"),
)
OVER_TIME = "alerts over time"
#: What limits may be about; words in capitals stand for any text.
MEASURES = (
    *("alerts", "worst alert", "tests", "clusters", "titles in a cluster", "known DIMENSION"),
    *("worst deviation DIMENSION=GROUP", OVER_TIME),
)
_CORRECTIONS = {Correction.BH: "Benjamini and Hochberg", Correction.HOLM: "Holm"}


def make_report(audit: BiasAudit, limits: Sequence[Limit] = ()) -> Report:
    """Everything that was found, as JSON, text and HTML have it."""
    survey, settings = audit.survey, audit.settings
    facts: dict[str, Any] = {
        "store": survey.uri,
        "fingerprint": survey.space.fingerprint,
        "titles": survey.titles,
        "clusters": f"{survey.clusters.count} by {survey.clusters.method}, on PCA's first directions",
        "variance_kept_by_pca": round(survey.variance_kept, 4),
        "correction": f"{_CORRECTIONS[settings.correction]} over all tests of this report",
        "alpha": settings.alpha,
        "least_deviation": settings.least_deviation,
        "least_titles": settings.least_titles,
        "seed": settings.seed,
    }
    if audit.other is not None:
        other = audit.other
        facts["against"] = f"{other.uri}: {other.titles} titles, {other.clusters.count} clusters of its own"
    untested = untested_findings(audit)
    sections = (
        _alerts(audit),
        *(_groups(audit, dimension, untested) for dimension in survey.dimensions),
        *_time(audit),
        _sight(audit),
    )
    if audit.findings:
        untold = why_untold_over_time(audit)
        notes = (f"Nothing was tested over time: {untold}.",) if untold else ()
        missing = {OVER_TIME: f"nothing was tested over time: {untold}"} if untold else {}
        return Report("Representation of groups", facts, sections, tuple(limits), notes, missing)
    why = why_untested(audit)
    # without a test there is neither an alert nor none
    names = (limit.measure for limit in limits if limit.measure.startswith(("alerts", "worst ")))
    return Report(
        "Representation of groups",
        facts,
        sections,
        tuple(limits),
        (f"Nothing was tested, so no alert is told: {why}.",),
        dict.fromkeys(names, f"nothing was tested: {why}"),
    )


def why_untested(audit: BiasAudit) -> str:
    """Of an audit without a test, in words."""
    if not audit.survey.clusters.count:
        return "no cluster was found; --clusters N makes as many"
    least = audit.settings.least_titles
    return f"no group and no cluster has the {least} titles that a test needs (--least-titles)"


def why_untold_over_time(audit: BiasAudit) -> str:
    """Why no alert over time could be told though time was asked for; empty where it could, or was not."""
    months = audit.survey.months
    if months is None or _over_time(audit):
        return ""
    place = "month" if audit.settings.time == "date" else "part of the store"
    least = audit.settings.least_titles
    why = f"no {place} has {least} titles (--least-titles) that could differ from the whole library"
    if undated := _undated(audit):
        why += f"; {undated} of {audit.survey.titles} titles have no day in the attribute `{DATE_ATTRIBUTE}`"
    return why


def worst_of(findings: Sequence[Finding]) -> Finding:
    """That of the largest deviation, up or down."""
    return max(findings, key=lambda one: abs(one.deviation))


def _alerts(audit: BiasAudit) -> Section:
    alerts, findings = audit.alerts, audit.findings
    measures = [
        Measure("tests", float(len(findings)), about="corrected for as one family"),
        Measure("clusters", float(audit.survey.clusters.count)),
        Measure("titles in a cluster", _inside(audit), about="share; the others lie between clusters"),
    ]
    if findings:  # a limit on alerts is broken where nothing was looked at
        told = Measure("alerts", float(len(alerts)), about="deviations that chance does not explain")
        measures = [told, *measures, _worst_alert(alerts)]
    text = (
        "An alert is a share that differs from what is expected by more than chance explains. "
        "low and high: the 95% interval of the share by Clopper and Pearson. chance low and high: where the "
        "share of so many titles lies 95 times of 100 by chance. p: exact and two-sided, hypergeometric "
        "against the library, which is finite, binomial against a target, Fisher's against another store. "
        "An alert tells that a group is unevenly spread, not whether that is wrong: a cluster of films from "
        "one country should be in its language."
    )
    if not audit.survey.clusters.count:
        text += " No cluster was found, so none is tested; --clusters makes as many as it is told."
    figures = (plot_surest(findings),) if findings else ()
    return Section(
        "Alerts", text, tuple(measures), ALERT_COLUMNS, tuple(map(alert_row, alerts[:MOST_ALERTS])), figures
    )


def _worst_alert(alerts: Sequence[Finding]) -> Measure:
    """Its size, up or down, so that one limit holds for both; 0 where there is none."""
    if not alerts:
        return Measure("worst alert", 0.0, about="share off what is expected")
    worst = worst_of(alerts)
    ends = [bound - worst.cell.expected for bound in worst.interval]
    low, high = ends if worst.deviation > 0 else (-ends[1], -ends[0])
    much = "too much" if worst.deviation > 0 else "too little"
    where = f"{much} {worst.cell.dimension}={worst.cell.group} in {worst.cell.place}"
    return Measure("worst alert", abs(worst.deviation), (low, high), about=where)


def alert_row(one: Finding) -> tuple[Any, ...]:
    """An alert as `ALERT_COLUMNS` have it."""
    cell = one.cell
    return (
        f"{cell.dimension}={cell.group}",
        cell.place,
        str(cell.against),
        cell.count,
        cell.size,
        cell.share,
        cell.expected,
        *one.interval,
        *usual_range(cell),
        one.p,
        one.adjusted_p,
    )


def _inside(audit: BiasAudit) -> float:
    places = audit.survey.clusters.places
    return float((places.codes < audit.survey.clusters.count).mean())


def _groups(audit: BiasAudit, dimension: Dimension, untested: Sequence[Finding]) -> Section:
    """A row a group: its share of the library, and its worst deviations by kind of place."""
    counts = dimension.counts()
    known = int(counts.sum())
    mine = [one for one in audit.findings if one.cell.dimension == dimension.name]
    share = known / max(audit.survey.titles, 1)
    measures = [Measure(f"known {dimension.name}", share, about="share of titles whose group is known")]
    rows = []
    told = [one for one in untested if one.cell.dimension == dimension.name]
    against_library = [one for one in (*mine, *told) if one.cell.against == Against.LIBRARY]
    for at, group in enumerate(dimension.groups):
        of_group = [one for one in against_library if one.cell.group == group]
        if of_group:
            worst = worst_of(of_group)
            interval = (worst.interval[0] - worst.cell.expected, worst.interval[1] - worst.cell.expected)
            name = f"worst deviation {dimension.name}={group}"
            measures.append(Measure(name, worst.deviation, interval, about=f"in {worst.cell.place}"))
        low, high = clopper_pearson(counts[at : at + 1], counts[:1] * 0 + known)
        wanted = audit.settings.target.get(group, "")
        alerts = sum(one.alert for one in mine if one.cell.group == group)
        rows.append(
            (group, int(counts[at]), counts[at] / known, float(low[0]), float(high[0]), wanted, alerts)
        )
    unknown = int((dimension.codes == UNKNOWN).sum())
    text = f"{unknown} titles of unknown group count nowhere."
    if dimension.rare:
        text += (
            f" {len(dimension.rare)} groups of fewer than {audit.settings.least_titles} titles are not "
            f"tested: {', '.join(dimension.rare[:20])}{' …' if len(dimension.rare) > 20 else ''}."
        )
    figures = [
        plot_places(found, f"{kind}s by {dimension.name}")
        for kind in ("cluster", "query")
        if (found := [one for one in mine if one.cell.kind == kind and one.cell.against == Against.LIBRARY])
    ]
    columns = ("group", "titles", "share", "low", "high", "target", "alerts")
    return Section(f"By {dimension.name}", text, tuple(measures), columns, tuple(rows), tuple(figures))


def _time(audit: BiasAudit) -> Iterator[Section]:
    months = audit.survey.months
    if months is None:
        return
    own = _over_time(audit)
    names = dict.fromkeys(one.cell.dimension for one in own)
    figures = tuple(
        plot_time([one for one in own if one.cell.dimension == name], f"{name} over time") for name in names
    )
    alerts = sum(one.alert for one in own)
    text = (
        "Each month is compared with the whole library: shares of the groups, and, as `cluster`, the sizes "
        "of the clusters. Bars: 95% intervals by Clopper and Pearson."
    )
    if undated := _undated(audit):
        text += f" {undated} titles without a day count in none."
    # a limit on alerts is broken where nothing was looked at
    measures = (Measure(OVER_TIME, float(alerts)),) if own else ()
    yield Section("Over time", text, measures, figures=figures)


def _undated(audit: BiasAudit) -> int:
    """Titles that are in no month, though time was asked for."""
    months = audit.survey.months
    return 0 if months is None else int((months.codes == UNKNOWN).sum())


def _over_time(audit: BiasAudit) -> list[Finding]:
    """Of the audited store; months of a second one are named after it."""
    months = audit.survey.months
    groups = months.groups if months is not None else ()
    return [one for one in audit.findings if one.cell.kind == "month" and one.cell.place in groups]


def _sight(audit: BiasAudit) -> Section:
    """What could have been found at all."""
    tested = {one.cell.place: one.cell.size for one in audit.findings if one.cell.kind == "cluster"}
    size = round(median(tested.values())) if tested else 0
    rows = []
    for dimension in audit.survey.dimensions if size else ():
        counts = dimension.counts()
        known = int(counts.sum())
        for at, group in enumerate(dimension.groups):
            if 0 < counts[at] < known:
                base = counts[at] / known
                points = least_found(
                    base, size=size, total=known, tests=len(audit.findings), alpha=audit.settings.alpha
                )
                rows.append((f"{dimension.name}={group}", float(base), "none" if points is None else points))
    text = (
        f"In a cluster of {size} titles, the median of those tested, and among {len(audit.findings)} tests, "
        "an over-representation of so many points is found four times of five where it is the only one. A "
        "smaller one may be there unseen: fewer tests (fewer groups, clusters, queries) see more."
        if size
        else "No cluster was large enough to be tested."
    )
    return Section("What could be seen", text, (), ("group", "share of the library", "points"), tuple(rows))
