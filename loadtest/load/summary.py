"""Figures of a run: latency over that without load, throughput by users, the knee, how it stays over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resonance.loadtest.load.records import Phase, Record, Result, Sent
from resonance.loadtest.load.shapes import Step

#: The knee: the fewest users that bring this share of the best throughput.
KNEE_SHARE = 0.9
QUANTILES = (50, 95, 99)
#: What a soak compares: its first and last stretch of so many seconds, or a quarter of it.
WINDOW_S = 300.0
#: Calls that embed something: a soak's p99 is over all of them. The others take a millisecond, and what
#: disturbs one of those for ten is a p99 of its own.
EMBEDDING = ("upload", "query", "live", "fuse")
#: The tool limits where it keeps one core this busy, sends at more than this share of what it could at most,
#: or is later than this at its own schedule.
MOST_CPU_SHARE = 0.8
MOST_RATE_SHARE = 0.5
MOST_LATE_MS = 50.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of answered calls, in milliseconds, and over what the same took without load.

    Attributes:
        times: quantiles of each call's time over the median of its kind without load, over the same quantile
            of the calls without load; empty where none were measured.
    """

    count: int
    ms: dict[int, float]
    times: dict[int, float]


@dataclass(frozen=True, slots=True)
class Calls:
    """All calls of a group or a kind that were due in a stretch of time."""

    answered: int
    refused: int
    failed: int
    latency: Latency

    @property
    def refused_share(self) -> float:
        """Of all."""
        return self.refused / max(1, self.answered + self.refused + self.failed)


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step, after it has settled. `media_s_per_s`: seconds of media answered a second."""

    step: Step
    media_s_per_s: float
    calls_per_s: float
    all: Calls
    groups: dict[str, Calls]


@dataclass(frozen=True, slots=True)
class Tool:
    """What the process that sends used and missed.

    Attributes:
        cpu_share: of the one core that it can use. late_*: behind its own schedule.
        rate_per_s, rate_share: smallest calls a second that it can make; what it made in this run over that.
        limits: why it was the tool that limited; empty where it was not.
    """

    cpu_share: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    rate_per_s: float
    rate_share: float
    limits: list[str]


class Baseline:
    """What calls take without load."""

    def __init__(self, records: Iterable[Record]) -> None:
        answered = [each for each in records if each.result is Result.ANSWERED]
        taken: defaultdict[str, list[float]] = defaultdict(list)
        for each in answered:
            taken[each.kind].append(each.took_s)
        self.median_s: Mapping[str, float] = {kind: float(np.median(times)) for kind, times in taken.items()}
        self._relative: defaultdict[str, list[float]] = defaultdict(list)
        for each in answered:
            self._relative[each.group].append(each.took_s / self.median_s[each.kind])

    def relative(self, records: Iterable[Record]) -> list[float]:
        """Each answered call's time over the median of its kind; kinds never seen alone are left out."""
        return [
            each.took_s / self.median_s[each.kind]
            for each in records
            if each.result is Result.ANSWERED and each.kind in self.median_s
        ]

    def quantiles(self, groups: Iterable[str]) -> dict[int, float]:
        """Of the relative times without load of some groups; empty where there are none."""
        return _quantiles([value for group in groups for value in self._relative.get(group, ())])


def calls(records: Sequence[Record], baseline: Baseline) -> Calls:
    """Figures of some calls."""
    results = Counter(each.result for each in records)
    answered = [each for each in records if each.result is Result.ANSWERED]
    loaded = _quantiles(baseline.relative(answered))
    alone = baseline.quantiles({each.group for each in answered})
    latency = Latency(
        len(answered),
        _quantiles([each.took_s * 1e3 for each in answered]),
        {q: loaded[q] / alone[q] for q in loaded if q in alone},
    )
    return Calls(results[Result.ANSWERED], results[Result.REFUSED], results[Result.FAILED], latency)


def by_group(records: Sequence[Record], baseline: Baseline) -> dict[str, Calls]:
    """Figures of each group."""
    return {
        group: calls([each for each in records if each.group == group], baseline)
        for group in sorted({each.group for each in records})
    }


def by_kind(records: Sequence[Record], baseline: Baseline) -> dict[str, Calls]:
    """Figures of each kind."""
    return {
        kind: calls([each for each in records if each.kind == kind], baseline)
        for kind in sorted({each.kind for each in records})
    }


def step_figures(sent: Sent, steps: Sequence[Step], baseline: Baseline) -> list[StepFigures]:
    """Of each step, from when it has settled."""
    loaded, found = sent.of(Phase.LOADED), []
    for step in steps:
        length_s = step.end_s - step.counts_s
        due = [each for each in loaded if step.counts_s <= each.due_s < step.end_s]
        ended = sum(
            each.result is Result.ANSWERED and step.counts_s <= each.ended_s < step.end_s for each in loaded
        )
        media_s = sum(s for at_s, s in sent.media if step.counts_s <= at_s < step.end_s)
        found.append(
            StepFigures(
                step, media_s / length_s, ended / length_s, calls(due, baseline), by_group(due, baseline)
            )
        )
    return found


def knee(users: Sequence[int], throughput: Sequence[float]) -> int | None:
    """The fewest users that bring `KNEE_SHARE` of the best throughput; None where it still rises at the last.

    A share of the best is the plainest of the usual rules; Satopää and others ("Finding a 'Kneedle' in a
    haystack", 2011) compare it with those by curvature, which need more points than a ramp has steps.
    """
    if len(users) < 2 or max(throughput, default=0.0) <= 0:
        return None
    best = max(throughput)
    found = next(i for i, value in enumerate(throughput) if value >= KNEE_SHARE * best)
    return users[found] if found < len(users) - 1 else None


def windows(plan: Sequence[Step]) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last stretch of a run, in seconds from its begin, its settling left out."""
    begin_s, end_s = plan[0].counts_s, plan[-1].end_s
    length_s = min(WINDOW_S, (end_s - plan[0].start_s) / 4)
    return (begin_s, begin_s + length_s), (end_s - length_s, end_s)


def drift(records: Sequence[Record], plan: Sequence[Step], baseline: Baseline) -> dict[int, float] | None:
    """Quantiles of relative times in the last stretch over those of the first; None where one is empty."""
    (first_s, first_end_s), (last_s, last_end_s) = windows(plan)
    before = _quantiles(baseline.relative(r for r in records if first_s <= r.due_s < first_end_s))
    after = _quantiles(baseline.relative(r for r in records if last_s <= r.due_s < last_end_s))
    return {q: after[q] / before[q] for q in QUANTILES} if before and after else None


def unloaded_media_s_per_s(sent: Sent, lengths_s: Mapping[str, float]) -> float:
    """Seconds of media a second that one caller alone got answered who uploads one title after the other.

    Args:
        lengths_s: seconds of media by kind.
    """
    taken = [(lengths_s[r.kind], r.took_s) for r in sent.of(Phase.UNLOADED) if r.kind in lengths_s]
    took_s = sum(each for _, each in taken)
    return sum(length_s for length_s, _ in taken) / took_s if took_s else 0.0


def tool(sent: Sent, steps: Sequence[StepFigures]) -> Tool:
    """Whether the process that sends limited the run in some steps; of its CPU and rate, those of the worst.

    Raises:
        KeyError: it did not come to its load.
    """
    spans = [(each.step.counts_s, each.step.end_s) for each in steps]
    late_ms = [1e3 * late_s for at_s, late_s in sent.late if any(a <= at_s < b for a, b in spans)] or [0.0]
    cpu_share = max((_cpu_share(sent.cpu, span) for span in spans), default=0.0)
    rate_per_s = sent.tool["rate_per_s"]
    rate_share = max((each.calls_per_s for each in steps), default=0.0) / rate_per_s
    p50_ms, p99_ms = (float(value) for value in np.percentile(late_ms, (50, 99)))
    limits = []
    if cpu_share > MOST_CPU_SHARE:
        limits.append(f"it kept its core {cpu_share:.0%} busy, at most {MOST_CPU_SHARE:.0%}")
    if rate_share > MOST_RATE_SHARE:
        limits.append(f"it made {rate_share:.0%} of the calls that it can, at most {MOST_RATE_SHARE:.0%}")
    if p99_ms > MOST_LATE_MS:
        limits.append(f"it was {p99_ms:.0f} ms late (p99), at most {MOST_LATE_MS:g} ms")
    return Tool(cpu_share, p50_ms, p99_ms, max(late_ms), rate_per_s, rate_share, limits)


def _cpu_share(cpu: Sequence[tuple[float, float]], span: tuple[float, float]) -> float:
    """Of one core, between the first and last look within a span."""
    seen = [each for each in cpu if span[0] <= each[0] <= span[1]]
    if len(seen) < 2:
        return 0.0
    (first_s, first_cpu_s), (last_s, last_cpu_s) = seen[0], seen[-1]
    return (last_cpu_s - first_cpu_s) / (last_s - first_s)


def failures(sent: Sent) -> dict[str, int]:
    """What failed, by kind, code and note."""
    failed = [each for each in sent.records if each.result is Result.FAILED]
    return dict(Counter(f"{each.kind}: {each.code} {each.note}".strip() for each in failed).most_common(20))


def _quantiles(values: Sequence[float]) -> dict[int, float]:
    return {q: float(np.percentile(values, q)) for q in QUANTILES} if values else {}
