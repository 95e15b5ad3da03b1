"""`python -m resonance.loadtest.audit.bias`: what the audit of representation finds, and how often wrongly.

Each run writes a store of its own and audits it as the command does. Where nothing is planted: how often
there is any alert. Where a group is planted in one kind of titles: how often the cluster that holds them is
told.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from resonance.clients.audit.bias import audit_bias, family
from resonance.clients.audit.bias_queries import AskedQuery
from resonance.clients.audit.bias_survey import BiasSettings, Survey
from resonance.clients.audit.groups import DimensionBuilder, GroupSource, make_source
from resonance.clients.audit.representation import Correction, Finding, clopper_pearson, judge, power
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.bias_store import simulate, write_simulated
from resonance.space.descriptor import Descriptor

DESCRIPTOR = Path("model_repository/space_descriptor/1/space.json")
TITLES, KINDS, PLANTED_KIND = 2000, 10, 3
SIZE = TITLES // KINDS
BASES, EXCESS = (0.1, 0.2, 0.3), 0.1
#: Groups that are tested in all: the planted one, and those that share what it leaves.
GROUPS = (2, 5, 10)
QUERIES, TOP = 10, 20
PLANTED_GROUP = "g0"


@dataclass(frozen=True, slots=True)
class Planted:
    """A group planted with `base` elsewhere and `base + EXCESS` in the titles of a kind.

    Attributes:
        exactly: so many titles to the title; else each title is drawn, so that there may be more or fewer.
        groups: in all, the planted one included.
    """

    base: float
    exactly: bool
    groups: int

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.base:g} {'exactly' if self.exactly else 'drawn'} {self.groups}"

    def draw(self, kinds: np.ndarray, chance: np.random.Generator) -> list[str]:
        """The group of each title."""
        there = np.zeros(len(kinds), np.bool_)
        for share, chosen in (
            (self.base, kinds != PLANTED_KIND),
            (self.base + EXCESS, kinds == PLANTED_KIND),
        ):
            titles = np.flatnonzero(chosen)
            count = round(share * len(titles)) if self.exactly else chance.binomial(len(titles), share)
            there[chance.choice(titles, count, replace=False)] = True
        others = chance.integers(1, self.groups, len(kinds))
        return [f"g{0 if planted else other}" for planted, other in zip(there, others, strict=True)]


SCENARIOS = tuple(
    Planted(b, exactly, groups) for exactly in (True, False) for groups in GROUPS for b in BASES
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often, of `runs`; 95% by Clopper and Pearson. `computed`: by the law, where it is known."""

    name: str
    correction: str
    tests: int
    found: int
    runs: int
    low: float
    high: float
    computed: float | None = None


def measure(
    runs: int, descriptor: Descriptor, *, first_seed: int = 0, scenarios: tuple[Planted, ...] = SCENARIOS
) -> list[Outcome]:
    """Unbiased draws and planted ones, under both corrections."""
    found: dict[tuple[str, str], list[bool]] = {}
    tests: dict[tuple[str, str], int] = {}
    for seed in range(first_seed, first_seed + runs):
        for name, correction, told, number in _run(seed, descriptor, scenarios):
            found.setdefault((name, correction), []).append(told)
            tests[name, correction] = number
    planted = {scenario.name: scenario for scenario in scenarios}
    outcomes = []
    for (name, correction), results in found.items():
        count = sum(results)
        low, high = clopper_pearson(np.array([count]), np.array([runs]))
        number, scenario = tests[name, correction], planted.get(name)
        computed = None
        if scenario is not None and not scenario.exactly and correction == Correction.HOLM:
            computed = power(scenario.base, EXCESS, size=SIZE, total=TITLES, tests=number)
        bounds = float(low[0]), float(high[0])
        outcomes.append(Outcome(name, correction, number, count, runs, *bounds, computed))
    return outcomes


def _run(
    seed: int, descriptor: Descriptor, scenarios: tuple[Planted, ...]
) -> Iterator[tuple[str, str, bool, int]]:
    """Scenario, correction, whether it was told, tests; of one store."""
    made = simulate(TITLES, KINDS, seed)
    chance = np.random.default_rng([seed, 3])
    queries = [AskedQuery(f"like {at}", like=str(at)) for at in chance.choice(TITLES, QUERIES, replace=False)]
    fair = BiasSettings(
        sources=[make_source("language")], queries=queries, limit=TOP, time="date", least_deviation=0.0
    )
    with tempfile.TemporaryDirectory() as folder:
        write_simulated(folder, made, SpaceRef.of(descriptor))
        audit = audit_bias(folder, fair, descriptor=descriptor)
    cells = [one.cell for one in audit.findings]
    for correction in Correction:
        alerts = [one for one in judge(cells, correction=correction) if one.alert]
        yield "nothing planted: no alert", str(correction), not alerts, len(cells)
    # the same clusters for all that is planted; each group is a family of tests by itself
    names = [str(at) for at in range(TITLES)]
    for scenario in scenarios:
        listed = dict(zip(names, scenario.draw(made.kinds, chance), strict=True))
        settings = BiasSettings(sources=[GroupSource("planted", "file", listed=listed)])
        builder = DimensionBuilder(settings.sources[0])
        builder.add(names, names)
        dimension = builder.build(least_titles=settings.least_titles)
        survey = replace(audit.survey, dimensions=(dimension,), months=None)
        cells = family(survey, settings)
        for correction in Correction:
            findings = judge(cells, correction=correction, least_deviation=settings.least_deviation)
            yield scenario.name, str(correction), _told(survey, findings, made.kinds), len(findings)


def _told(survey: Survey, findings: list[Finding], kinds: np.ndarray) -> bool:
    """Whether there is an alert of the planted group in the cluster of the planted kind."""
    places = survey.clusters.places
    codes = places.codes[kinds == PLANTED_KIND]
    place = places.groups[int(np.bincount(codes).argmax())]
    mine = [one for one in findings if one.alert and one.cell.place == place]
    # of two groups the rarer is tested, and the planted one is
    return any(one.cell.group == PLANTED_GROUP and one.deviation > 0 for one in mine)


def measure_size(titles: int, descriptor: Descriptor, folder: str) -> dict[str, float | int | str]:
    """Time and memory of an audit of a simulated store; the store is kept out of both where it was there."""
    path = Path(folder) / f"bias-{titles}"
    if not path.exists():
        write_simulated(
            str(path), simulate(titles, max(round(titles**0.5 / 4), KINDS), 0), SpaceRef.of(descriptor)
        )
    written_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started_s = time.perf_counter()
    audit = audit_bias(str(path), BiasSettings(sources=[make_source("language")], time="date"))
    return {
        "titles": audit.survey.titles,
        "seconds": time.perf_counter() - started_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_mib_before": written_mib,
        "clusters": audit.survey.clusters.method,
        "tests": len(audit.findings),
        "alerts": len(audit.alerts),
    }


def main(
    runs: Annotated[int, typer.Option(help="Stores that are made and audited.")] = 100,
    seed: int = 0,
    titles: Annotated[int | None, typer.Option(help="Measure time and memory of so many titles.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where the store of --titles is kept: 7 KB a title. [a temporary one]")
    ] = None,
    space: Annotated[Path, typer.Option(help="space.json; only its shapes and sigmas count.")] = DESCRIPTOR,
    json_out: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """False alerts, power, or with --titles time and memory."""
    descriptor = Descriptor.load(space)
    if titles is not None:
        with tempfile.TemporaryDirectory() as temporary:
            typer.echo(json.dumps(measure_size(titles, descriptor, str(folder or temporary))))
        return
    outcomes = measure(runs, descriptor, first_seed=seed)
    if json_out:
        typer.echo(json.dumps([asdict(outcome) for outcome in outcomes]))
        return
    table = Table("scenario", "correction", "tests", "found", "95%", "computed")
    for one in outcomes:
        computed = "" if one.computed is None else f"{one.computed:.2f}"
        interval = f"{one.low:.3f} – {one.high:.3f}"
        table.add_row(one.name, one.correction, str(one.tests), f"{one.found}/{one.runs}", interval, computed)
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
