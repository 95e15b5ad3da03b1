"""The cold-start experiment as a report: a verdict that may go against the vectors, tables, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from matplotlib.figure import Figure

from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.report import Measure, Section
from resonance.training.coldstart.plots import (
    plot_differences,
    plot_exposure,
    plot_found,
    plot_reliability,
)
from resonance.training.coldstart.result import (
    AUC,
    COLD,
    EVERY,
    FOUND,
    NDCG,
    RECALL,
    SLICES,
    WARM,
    ColdstartResult,
    Contestant,
    Difference,
)

_OF_LISTS = (
    *("exposure new CONTESTANT", "exposure tail CONTESTANT", "coverage CONTESTANT"),
    *("miscalibration CONTESTANT", "calibration error CONTESTANT"),
)
#: What limits may be about; words in capitals stand for any text. Of two contestants also in known titles.
MEASURES = (
    *("recall@K CONTESTANT", "ndcg@K CONTESTANT", "auc CONTESTANT", "fused over CONTESTANT"),
    *_OF_LISTS,
)
_NO_FEATURES = ("popularity", "factorisation")


def measures_of(contestants: Iterable[str], reference: str, k: int) -> frozenset[str]:
    """Names of all measures that a report of these contestants and lists of `k` may have."""
    names = list(contestants)
    found = {
        _ranked_name(measure, k, one, slice_)
        for one in names
        for measure in FOUND
        for slice_ in (COLD, WARM, EVERY)
    }
    for one in names:
        over = [_over_name(reference, one, slice_) for slice_ in (COLD, WARM, EVERY)]
        found |= {*over, _relative_name(over[0])}
        found |= {template.replace("CONTESTANT", one) for template in _OF_LISTS}
    return frozenset(found)


def coldstart_sections(result: ColdstartResult) -> tuple[Section, ...]:
    """The whole report, the verdict first."""
    return (_new(result), _parts(result), _known(result), _lists(result), _calibration(result), _test(result))


def notes(result: ColdstartResult) -> tuple[str, ...]:
    """Why recall says nothing of new titles, where it does not."""
    why = _all_listed(result, COLD)
    return (f"{why[0].upper()}{why[1:]}.",) if _lists_all(result, COLD) else ()


def missing(result: ColdstartResult) -> dict[str, str]:
    """By measure that is not there, why."""
    names = [one.name for one in result.contestants]
    return {
        measure: _all_listed(result, slice_)
        for slice_ in (COLD, WARM, EVERY)
        if _lists_all(result, slice_)
        for name in names
        for measure in (
            measure_name(result, RECALL, name, slice_),
            _over_name(result.reference, name, slice_),
            _relative_name(_over_name(result.reference, name, slice_)),
        )
    }


def _lists_all(result: ColdstartResult, slice_: str) -> bool:
    """Whether lists in random order find all that is to be found: recall is 1, whoever made them."""
    return result.split.chance.get(slice_, 0.0) >= 1


def _all_listed(result: ColdstartResult, slice_: str) -> str:
    new, known = result.split.new_titles, result.split.known_titles
    count = {COLD: new, WARM: known, EVERY: new + known}[slice_]
    return (
        f"of {slice_} titles ({count}) no viewer has more to choose from than a list of {result.k} holds, so "
        f"that recall@{result.k} is 1 whoever made it; expected more of them, or a smaller --k"
    )


def verdict(result: ColdstartResult) -> str:
    """Who finds new titles, in two sentences at most; only what the intervals bear out."""
    label, name = f"recall@{result.k}", result.reference
    found = {d.other: d for d in result.differences if (d.slice, d.measure) == (COLD, RECALL)}
    if not found:
        return "No new title was viewed in the test, so nothing can be said of cold start."
    if _lists_all(result, COLD):
        return f"Nothing can be said of cold start by {label}: every list holds all new titles there are."
    better = sorted((d for d in found.values() if d.estimate.interval[1] < 0), key=lambda d: d.estimate.value)
    worse = [d for d in found.values() if d.estimate.interval[0] > 0]
    even = [d.other for d in found.values() if d not in better and d not in worse]
    own = f"{label} {_figure(result.contestant(name).found[COLD, RECALL])}"
    if better:
        text = (
            f"Against the vectors: {_alone(better[0].other)} find{_s(better[0].other)} new titles better "
            f"than {name} does, by {_figure(_turned(better[0].estimate))} of {label} ({name}: {own})."
        )
        if len(better) > 1:
            text += f" So do{'es' if len(better) == 2 else ''} {_listed([d.other for d in better[1:]])}."
        return text
    nothing = [other for other in _NO_FEATURES if other in even]
    if nothing:
        return (
            f"Nothing was found in {name}: its {own} cannot be told from {_listed(nothing)}, "
            "which know nothing of a new title."
        )
    if even:
        text = (
            f"{name} finds new titles ({own}), no better or worse than {_listed(even)} as far as can be told"
        )
        return f"{text}; better than {_listed([d.other for d in worse])}." if worse else f"{text}."
    next_best = min(worse, key=lambda d: d.estimate.value)
    return (
        f"{name} finds new titles better than every other: {own}, the next is {next_best.other} with "
        f"{result.contestant(next_best.other).found[COLD, RECALL].value:.3f}, a difference of "
        f"{_figure(next_best.estimate)}."
    )


def _alone(other: str) -> str:
    return f"{other} alone"


def _s(other: str) -> str:
    """Of the verb: tags find, text finds."""
    return "" if other.endswith("s") else "s"


def _turned(estimate: Estimate) -> Estimate:
    low, high = estimate.interval
    return Estimate(-estimate.value, (-high, -low))


def _figure(estimate: Estimate) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(estimate.value, *estimate.interval)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def measure_name(result: ColdstartResult, measure: str, contestant: str, slice_: str = COLD) -> str:
    """As limits call it: ``recall@10 fused``, ``recall@10 known tail tags``."""
    return _ranked_name(measure, result.k, contestant, slice_)


def _ranked_name(measure: str, k: int, contestant: str, slice_: str) -> str:
    label = measure if measure == AUC else f"{measure}@{k}"
    return f"{label} {contestant}" if slice_ == COLD else f"{label} {slice_} {contestant}"


def _measures(result: ColdstartResult, slice_: str, *measures: str) -> Iterator[Measure]:
    for measure in measures:
        if measure == RECALL and _lists_all(result, slice_):
            continue
        for one in result.contestants:
            estimate = one.found.get((slice_, measure))
            if estimate is not None:
                yield Measure(
                    measure_name(result, measure, one.name, slice_), estimate.value, estimate.interval
                )


def _differences(result: ColdstartResult, slice_: str) -> Iterator[Measure]:
    """`fused over tags`: in recall, of new titles where nothing else is said."""
    if _lists_all(result, slice_):
        return
    for one in result.differences:
        if (one.slice, one.measure) != (slice_, RECALL):
            continue
        name = _over_name(result.reference, one.other, slice_)
        about = "difference in recall; the interval holds for all others together"
        yield Measure(name, one.estimate.value, one.estimate.interval, about=about)
        if slice_ == COLD and one.relative is not None:
            yield _relative(name, one.relative)


def _over_name(reference: str, other: str, slice_: str) -> str:
    name = f"{reference} over {other}"
    return name if slice_ == COLD else f"{name}, {slice_}"


def _relative_name(name: str) -> str:
    return f"{name}, relative"


def _relative(name: str, found: Estimate) -> Measure:
    low, high = found.interval
    return Measure(_relative_name(name), 100 * found.value, (100 * low, 100 * high), unit="%")


def _new(result: ColdstartResult) -> Section:
    split = result.split
    text = (
        f"{verdict(result)} New titles were held out whole: nobody's viewing of one was learned from. They "
        f"are ranked among each other, {split.new_titles} of them; random lists would have a recall@"
        f"{result.k} of {split.chance.get(COLD, 0):.3f}. Intervals take viewers and titles as a sample; "
        f"those of differences are 95% for all {len(result.contestants) - 1} of a measure together "
        "(Bonferroni). Popularity and factorisation know nothing of a title without a viewing: theirs are "
        "random lists."
    )
    figures: tuple[Figure, ...] = ()
    if any(d.slice == COLD for d in result.differences) and not _lists_all(result, COLD):
        figures = (plot_differences(result, COLD, RECALL, f"recall@{result.k} of new titles"),)
    measures = (*_measures(result, COLD, RECALL, NDCG, AUC), *_differences(result, COLD))
    return Section("New titles", text, measures, figures=figures)


def _parts(result: ColdstartResult) -> Section:
    """Every measure of every group of titles, as a table."""
    there = [name for name in SLICES if any((name, RECALL) in one.found for one in result.contestants)]
    rows = tuple(
        (name, one.name, *_flat(one, name), *_flat_differences(result, one, name))
        for name in there
        for one in result.contestants
    )
    columns = ["titles", "contestant"]
    for measure in FOUND:
        columns += [measure, f"{measure} low", f"{measure} high"]
    columns += [f"recall of {result.reference} less its", "low", "high"]
    return Section(
        "Head and long tail, new and known",
        "The head is the fewest titles that have half of the viewings: before the cut, or, of new titles, in "
        "the test. A list is of the whole pool, of new titles or of known ones; head and tail are what it "
        "should have found of each.",
        columns=tuple(columns),
        rows=rows,
        figures=(plot_found(result, RECALL, f"recall@{result.k}"),),
    )


def _flat(one: Contestant, slice_: str) -> Iterator[float]:
    for measure in FOUND:
        estimate = one.found[slice_, measure]
        yield from (estimate.value, *estimate.interval)


def _flat_differences(result: ColdstartResult, one: Contestant, slice_: str) -> tuple[Any, Any, Any]:
    if one.name == result.reference:
        return ("", "", "")
    found: Difference = result.difference(one.name, slice_, RECALL)
    return (found.estimate.value, *found.estimate.interval)


def _known(result: ColdstartResult) -> Section:
    return Section(
        "Known titles",
        "Titles with viewings before the cut, ranked among each other. Towers know them by their features "
        "alone, while popularity and factorisation know who watched them. `all`: known and new in one list.",
        (
            *_measures(result, WARM, RECALL, NDCG),
            *_differences(result, WARM),
            *_measures(result, EVERY, RECALL),
        ),
    )


def _lists(result: ColdstartResult) -> Section:
    split = result.split
    text = (
        f"Lists of {result.k} among all titles. Of the test's viewings {split.viewed_new:.1%} are of new "
        f"titles and {split.viewed_tail:.1%} of the long tail of known ones: what lists would show that are "
        "as viewing is. Coverage: titles that stand in somebody's list. Miscalibration is Steck's (2018): "
        "the divergence of a list's tags from those of its viewer's history, 0 where alike. Intervals "
        "take viewers alone as a sample."
    )
    measures = []
    for label, of in (
        ("exposure new", "places of the lists that go to new titles"),
        ("exposure tail", "places that go to the long tail of known ones"),
    ):
        for one in result.contestants:
            estimate = one.exposure_new if label == "exposure new" else one.exposure_tail
            measures.append(Measure(f"{label} {one.name}", estimate.value, estimate.interval, about=of))
    for one in result.contestants:
        measures.append(Measure(f"coverage {one.name}", one.coverage))
    for one in result.contestants:
        if one.miscalibration is not None:
            estimate = one.miscalibration
            measures.append(Measure(f"miscalibration {one.name}", estimate.value, estimate.interval))
    return Section("What lists show", text, tuple(measures), figures=(plot_exposure(result),))


def _calibration(result: ColdstartResult) -> Section:
    told = [one for one in result.contestants if one.reliability is not None]
    text = (
        "Do scores mean what they say? Pairs of viewer and new title in ten groups of about equal size, by "
        "the viewings that the score expects; the error is the sum of |expected - came| over what came: 0 is "
        "right, 2 is all in the wrong place. A title that was begun and left did not come. Factorisation "
        "gives no probabilities."
    )
    if not told:
        return Section("Calibration", text)
    return Section(
        "Calibration",
        text,
        tuple(
            Measure(f"calibration error {one.name}", one.reliability.error)
            for one in told
            if one.reliability is not None
        ),
        figures=(plot_reliability(result),),
    )


def _test(result: ColdstartResult) -> Section:
    split = result.split
    cut = datetime.fromtimestamp(split.cut_s, UTC).isoformat(timespec="seconds")
    text = (
        f"Cut at {cut}: what is learned lies before it, the test after it. A viewing that went far enough "
        "should be found. Histories end at the cut, and a list does not name what its viewer had watched. "
        "Towers have the same width, steps, batches and seeds, whatever their features; each stops where "
        "the end of the training time is told best."
    )
    facts = (
        ("viewings learned from", split.training),
        ("viewings that tell when to stop", split.validation),
        ("viewings of the test", split.test),
        ("left out, as their viewers knew the title", split.rewatched),
        ("of viewers without a history, left out", split.without_history),
        ("viewers", split.viewers),
        ("known titles", split.known_titles),
        ("new titles", split.new_titles),
        ("of them first viewed after the cut", split.first_seen_later),
        ("of them viewed by nobody", split.never_seen),
    )
    contestants = tuple(
        (f"{one.name}: {one.kind}, {one.width} numbers a title, best epoch", one.epochs)
        for one in result.contestants
        if one.epochs
    )
    return Section("How it was tested", text, columns=("what", "count"), rows=(*facts, *contestants))
