"""The audit of finishing as a report: sections, verdicts in sentences, pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import isfinite

import numpy as np

from resonance.clients.audit.finishing import FinishingAudit
from resonance.clients.audit.finishing_curves import Curve, Estimate
from resonance.clients.audit.finishing_kinds import KindFound
from resonance.clients.audit.finishing_plots import plot_curves, plot_seen
from resonance.clients.audit.metadata_plots import plot_intervals
from resonance.clients.audit.report import Measure, Section

_MOST_IN_A_PICTURE = 25
#: What limits may be about; words in capitals stand for any text.
MEASURES = (
    *("completion", "completion_unweighted", "completion_rise", "score_correlation"),
    *("score_correlation_unweighted", "seen_completion", "seen_completion_rise", "watch_s", "watch_s_rise"),
    *("watch_correlation", "clicks", "clicks_of_unknown_completion", "effective_clicks", "clipped"),
    *("left_out", "spread_BLOCK", "correlation_BLOCK", "carried_BLOCK", "taste_correlation", "axis_NAME"),
    *("abandoned", "kinds_tested", "kinds_abandoned", "abandoned FAMILY KIND"),
)


def finishing_sections(audit: FinishingAudit, asked: Collection[str] = ()) -> tuple[Section, ...]:
    """The whole report, completion against score first.

    Args:
        asked: names of measures that limits are about. Of kinds the surely abandoned are measures, and these.
    """
    return (_finishing(audit), _weights(audit), _blocks(audit), _axes(audit), _kinds(audit, asked))


def verdict(audit: FinishingAudit) -> str:
    """Whether a higher score means that more is watched, in a sentence."""
    low, high = audit.correlation.interval
    rise = audit.completion.rise
    groups = len(audit.completion.value)
    told = (
        f"of what was clicked, the highest of {groups} groups is watched {100 * rise.value:+.1f} points of a "
        f"hundred farther than the lowest ({_points(rise.interval)})"
    )
    if low > 0:
        return f"What scores higher is watched farther: {told}."
    if high < 0:
        return f"What scores higher is watched LESS far: {told}. The score goes against finishing."
    if not isfinite(audit.correlation.value):
        return "All that was clicked was watched equally far: nothing can be said of the score."
    return f"It is not found that the score says how far a title is watched: {told}."


def _points(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _measure(name: str, found: Estimate | None, about: str) -> Iterator[Measure]:
    """An estimate, where there is one that is a number."""
    if found is not None and isfinite(found.value):
        interval = found.interval if all(map(isfinite, found.interval)) else None
        yield Measure(name, found.value, interval, about=about)


def _finishing(audit: FinishingAudit) -> Section:
    measures = [
        *_measure("completion", audit.completion.all, "share watched of what was clicked"),
        Measure("completion_unweighted", audit.completion.all.unweighted, about="the same, all rows alike"),
        *_measure("completion_rise", audit.completion.rise, "highest group of the score less the lowest"),
        *_measure("score_correlation", audit.correlation, "ranks of score and completion, clicked rows"),
        *_unweighted("score_correlation_unweighted", audit.correlation),
    ]
    curves = [("completion of what was clicked", audit.completion)]
    if audit.seen is not None:
        measures += _measure(
            "seen_completion", audit.seen.all, "share watched of what is seen, clicked or not"
        )
        measures += _measure("seen_completion_rise", audit.seen.rise, "highest group less the lowest")
        curves.append(("completion of what is seen", audit.seen))
    if audit.watch_s is not None:
        measures += _measure("watch_s", audit.watch_s.all, "seconds watched of what was clicked")
        measures += _measure("watch_s_rise", audit.watch_s.rise, "highest group of the score less the lowest")
        measures += _measure(
            "watch_correlation", audit.watch_correlation, "ranks of score and seconds watched, clicked rows"
        )
        curves.append(("seconds watched of what was clicked", audit.watch_s))
    text = (
        f"{verdict(audit)} Scores are {audit.scored_by}. Groups have about as many recommended rows each; "
        "intervals are 95% each, over viewers, and hold for these titles: of others the score may know less."
    )
    return Section(
        "Completion against score",
        text,
        measures=tuple(measures),
        columns=("outcome", "score", "rows", "value", "low", "high", "unweighted"),
        rows=tuple(row for name, found in curves for row in _curve_rows(name, found)),
        figures=(plot_curves(curves, audit.scored_by),),
    )


def _unweighted(name: str, found: Estimate) -> Iterator[Measure]:
    if isfinite(found.unweighted):
        yield Measure(name, found.unweighted, about="the same, all rows alike")


def _curve_rows(name: str, found: Curve) -> Iterator[tuple[str | int | float, ...]]:
    columns = (found.score, found.value, found.low, found.high, found.unweighted)
    for at in np.flatnonzero(np.isfinite(columns).all(axis=0)):
        score, value, low, high, plain = (float(column[at]) for column in columns)
        yield name, score, int(found.rows[at]), value, low, high, plain


def _weights(audit: FinishingAudit) -> Section:
    weights = audit.weights
    left = {why: count for why, count in audit.left_out.items() if count}
    text = f"The chance that a row was seen is {weights.method}."
    if weights.why:
        text += f" It could not be fitted: {weights.why}."
    unknown = audit.clicked - audit.watched
    if unknown:
        text += (
            f" Of {unknown:,} clicks it is not known how far they were watched: they count as clicks alone."
        )
    if left:
        text += " Left out: " + "; ".join(f"{count:,} rows, {why}" for why, count in left.items()) + "."
    figure = plot_seen(weights, audit.settings.clip)
    return Section(
        "What rows count",
        text,
        measures=(
            Measure("clicks", audit.clicked, about=f"of {audit.rows:,} rows looked at"),
            Measure("clicks_of_unknown_completion", unknown, about="of these, which count as clicks alone"),
            Measure("effective_clicks", audit.effective, about="equal ones that would say as much"),
            Measure(
                "clipped", weights.clipped, about=f"share of rows of a chance below {audit.settings.clip:g}"
            ),
            Measure("left_out", sum(left.values()), about="rows of these viewers that could not be used"),
        ),
        figures=() if figure is None else (figure,),
    )


def _blocks(audit: FinishingAudit) -> Section:
    if not audit.blocks:
        return Section("By block", "Too few viewers had watched anything before that tells a taste.")
    measures: list[Measure] = []
    for one in audit.blocks:
        measures.append(
            Measure(f"spread_{one.name}", one.spread_share, about="part of what differs between taste scores")
        )
        measures += _measure(
            f"correlation_{one.name}", one.correlation, "ranks of the block's share and completion, of three"
        )
        measures += _measure(
            f"carried_{one.name}", one.completion, "completion of what was clicked where it carried the score"
        )
    if audit.taste_correlation is not None:
        measures.append(
            Measure(
                "taste_correlation", audit.taste_correlation, about="ranks of the log's score and the taste's"
            )
        )
    sure = [one.name for one in audit.blocks if one.correlation and one.correlation.interval[0] > 0]
    told = f"More of the score from {' and from '.join(sure)} goes with more watched. " if sure else ""
    return Section(
        "By block",
        f"{told}Each score by the taste of the viewer's earlier viewings is the sum of three shares. A block "
        "carried a score where its share lies highest above its own mean, in standard deviations. Inferred "
        "blocks do not count. Titles are drawn as well as viewers, and the intervals of the three "
        "correlations hold together with 95%.",
        measures=tuple(measures),
        figures=(
            plot_intervals(
                "Rank correlation of a block's share with completion",
                [
                    (b.name, b.correlation.value, b.correlation.interval)
                    for b in audit.blocks
                    if b.correlation
                ],
                line=0.0,
                line_label="none",
            ),
        ),
    )


def _axes(audit: FinishingAudit) -> Section:
    if not audit.axes:
        return Section("By axis", "The store's titles have no values on axes.")
    found = sorted(audit.axes, key=lambda axis: -abs(axis.correlation.value))
    sure = [axis for axis in found if axis.correlation.interval[0] > 0 or axis.correlation.interval[1] < 0]
    text = (
        "; ".join(
            f"titles {'high' if axis.correlation.value > 0 else 'low'} on {axis.name} are watched farther"
            for axis in sure
        ).capitalize()
        or "No axis goes surely with how far a title is watched"
    )
    return Section(
        "By axis",
        f"{text}. Ranks of the title's value and of completion, of what was clicked. Titles are drawn as "
        "well as viewers, and the intervals of all axes hold together with 95%.",
        measures=tuple(
            measure
            for axis in found
            for measure in _measure(f"axis_{axis.name}", axis.correlation, "rank correlation, corrected")
        ),
        figures=(
            plot_intervals(
                "Rank correlation of a title's value with completion",
                [(axis.name, axis.correlation.value, axis.correlation.interval) for axis in found],
                line=0.0,
                line_label="none",
            ),
        ),
    )


def _kinds(audit: FinishingAudit, asked: Collection[str]) -> Section:
    worse = [kind for kind in audit.kinds if kind.is_abandoned]
    better = [kind for kind in audit.kinds if kind.is_finished]
    told = "; ".join(_kind_told(kind) for kind in worse) or "No kind is surely abandoned more than the others"
    shown = _surest(audit.kinds)
    return Section(
        "Clicked and abandoned",
        f"{told}. Abandoned: clicked, and watched less than {audit.settings.abandoned:.0%}. "
        f"{len(audit.kinds)} kinds are tested against all other clicks; their intervals hold together with "
        f"95%. {audit.kinds_left} more have too few clicks, viewers or titles. {len(better)} are surely "
        "abandoned less.",
        measures=(
            *_measure("abandoned", audit.abandoned, "share of what was clicked"),
            Measure("kinds_tested", len(audit.kinds)),
            Measure("kinds_abandoned", len(worse), about="surely abandoned more than the others"),
            *(
                Measure(f"abandoned {_name(kind)}", kind.difference, kind.interval, about="more than others")
                for kind in audit.kinds
                if kind.is_abandoned or f"abandoned {_name(kind)}" in asked
            ),
        ),
        columns=(
            *("family", "kind", "clicks", "viewers", "titles", "abandoned", "others", "difference", "low"),
            *("high", "unweighted", "click_rate", "others_click_rate", "verdict"),
        ),
        rows=tuple(
            (
                *(kind.family, kind.name, kind.clicks, kind.viewers, kind.titles, kind.abandoned, kind.rest),
                *(kind.difference, *kind.interval, kind.unweighted),
                *(rate if isfinite(rate) else "" for rate in (kind.click_rate, kind.rest_click_rate)),
                "abandoned" if kind.is_abandoned else "finished" if kind.is_finished else "",
            )
            for kind in audit.kinds
        ),
        figures=(
            plot_intervals(
                "Share abandoned, less that of all other clicks",
                [(_name(kind), kind.difference, kind.interval) for kind in shown],
                line=0.0,
                line_label="no difference",
            ),
        )
        if shown
        else (),
    )


def _surest(kinds: tuple[KindFound, ...]) -> list[KindFound]:
    """Those that differ most for their interval, in the order given."""
    chosen = sorted(
        kinds, key=lambda kind: -abs(kind.difference) / max(kind.interval[1] - kind.interval[0], 1e-12)
    )[:_MOST_IN_A_PICTURE]
    return [kind for kind in kinds if kind in chosen]


def _name(kind: KindFound) -> str:
    return f"{kind.family} {kind.name}"


def _kind_told(kind: KindFound) -> str:
    clicked = ""
    if isfinite(kind.click_rate):
        more = "more" if kind.click_rate > kind.rest_click_rate else "less"
        clicked = f", clicked {more} often ({kind.click_rate:.0%}, others {kind.rest_click_rate:.0%})"
    return (
        f"{_name(kind)} is abandoned {100 * kind.difference:+.1f} points of a hundred more than others "
        f"({_points(kind.interval)}){clicked}"
    )
