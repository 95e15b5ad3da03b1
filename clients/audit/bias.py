"""An audit of representation: a store read by groups, clustered, its places compared as one family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from resonance.clients.audit.bias_queries import ask, compared, result_counts
from resonance.clients.audit.bias_survey import BiasSettings, Survey, survey_store
from resonance.clients.audit.groups import Dimension, crossed
from resonance.clients.audit.representation import Against, Cell, Finding, judge
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher
from resonance.clients.errors import UsageError
from resonance.space.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class BiasAudit:
    """What was found; `findings`: every test of the report, one family. `other`: the second store."""

    survey: Survey
    settings: BiasSettings
    findings: tuple[Finding, ...]
    other: Survey | None = None

    @property
    def alerts(self) -> list[Finding]:
        """The surest first."""
        return sorted((one for one in self.findings if one.alert), key=lambda one: one.adjusted_p)


def audit_bias(
    uri: str,
    settings: BiasSettings,
    *,
    descriptor: Descriptor | None = None,
    against: str | None = None,
    against_descriptor: Descriptor | None = None,
) -> BiasAudit:
    """Audit a store, and a second one beside it. Blocks.

    Args:
        descriptor: of the store's space; needed where there are queries. against_descriptor: of the second.

    Raises:
        UsageError: no source, one that tells the group of no title, a target that fits no source, or a query
            that makes no sense.
        StoreError: a store cannot be read. SpaceMismatchError: a descriptor of another space.
    """
    first, second = survey_store(uri, settings), None
    _check_known(first, settings)
    if against is not None:
        # what one of the stores lacks, or has little of, is looked at in both: that may be what differs
        second = survey_store(against, settings).with_groups_of(first, settings)
        first = first.with_groups_of(second, settings)
    asked = list(query_cells(first, settings, descriptor))
    cells = _tested([*library_cells(first, settings), *asked], _twins(first))
    if second is not None:
        answered = list(query_cells(second, settings, against_descriptor))
        own = _tested([*library_cells(second, settings), *answered], _twins(second))
        cells += [replace(cell, place=f"{against}: {cell.place}") for cell in own]
        between = [
            *_between(_of_whole(first), _of_whole(second)),
            *_between(_against_library(asked), _against_library(answered)),
        ]
        cells += _tested(between, _twins(first, second))
    findings = judge(
        cells,
        alpha=settings.alpha,
        correction=settings.correction,
        least_deviation=settings.least_deviation,
    )
    return BiasAudit(first, settings, tuple(findings), second)


def family(survey: Survey, settings: BiasSettings) -> list[Cell]:
    """Cells of one store that are tested, without queries."""
    return _tested(library_cells(survey, settings), _twins(survey))


def untested_twin(survey: Survey, dimension: Dimension) -> str | None:
    """The commoner of two groups of a dimension of a survey, which is not tested against the library."""
    return next((group for name, group in _twins(survey) if name == dimension.name), None)


def mirrored(one: Finding, group: str) -> Finding:
    """Of the commoner of two groups, what the test of the rarer says: what the one has too much of, the other
    lacks."""
    cell, (low, high) = one.cell, one.interval
    turned = replace(cell, group=group, count=cell.size - cell.count, of_count=cell.of_size - cell.of_count)
    return replace(one, cell=turned, interval=(1 - high, 1 - low))


def untested_findings(audit: BiasAudit) -> list[Finding]:
    """Of the commoner of two groups, what the tests of the rarer say; each store has its own two."""
    other = audit.other
    first = dict(_twins(audit.survey))
    second = dict(_twins(other)) if other is not None else {}
    both = dict(_twins(audit.survey, other)) if other is not None else {}
    found = []
    for one in audit.findings:
        if one.cell.against == Against.TARGET:
            continue
        is_second = other is not None and one.cell.place.startswith(f"{other.uri}: ")
        twins = both if one.cell.against == Against.OTHER else second if is_second else first
        if one.cell.dimension in twins:
            found.append(mirrored(one, twins[one.cell.dimension]))
    return found


def _twins(*surveys: Survey) -> set[tuple[str, str]]:
    """Dimension and group of the commoner of two groups, where every known title of all stores is of one.

    Its test is that of the rarer: what one has too much of, the other lacks, at the same p. Groups without a
    title do not matter. All surveys have the same groups.
    """
    twins = set()
    for together in zip(*(survey.dimensions for survey in surveys), strict=True):
        counts = np.stack([one.counts() for one in together])  # (surveys, G + 1)
        there = np.flatnonzero(counts.any(axis=0))
        if len(there) == 2 and there[1] < len(together[0].groups):
            commoner = there[int(counts[0, there[1]] >= counts[0, there[0]])]
            twins.add((together[0].name, together[0].groups[commoner]))
    return twins


def _tested(cells: Iterable[Cell], twins: Set[tuple[str, str]]) -> list[Cell]:
    """Those that can deviate, without the `twins`, which a target alone is compared with."""
    return [
        cell
        for cell in cells
        if cell.can_deviate and (cell.against == Against.TARGET or (cell.dimension, cell.group) not in twins)
    ]


def _check_known(survey: Survey, settings: BiasSettings) -> None:
    """Refuse a source that tells nothing, as a misspelt one: an audit of it would find no alert.

    Raises:
        UsageError: as it says.
    """
    for source, dimension in zip(settings.sources, survey.dimensions, strict=True):
        if source.kind == "tag" and not dimension.groups and not dimension.rare:
            raise UsageError(
                f"{survey.uri}: no title has the tag '{source.key}'; expected one that titles have"
            )
        if not dimension.counts().any():
            raise UsageError(
                f"{survey.uri}: '{source.name}' is known of none of its {survey.titles:,} titles; expected "
                "a language, an attribute or a file that tells the group of some"
            )


def library_cells(survey: Survey, settings: BiasSettings) -> Iterator[Cell]:
    """Clusters, months and the whole library by group, and months by cluster, against library and target."""
    for dimension in survey.dimensions:
        yield from _against_target([*_whole_cells(survey, dimension)], settings)
        yield from _place_cells("cluster", survey.clusters.places, dimension, settings)
        if survey.months is not None:
            yield from _place_cells("month", survey.months, dimension, replace(settings, target={}))
    if survey.months is not None:
        yield from _place_cells("month", survey.months, survey.clusters.places, replace(settings, target={}))


def query_cells(survey: Survey, settings: BiasSettings, descriptor: Descriptor | None) -> Iterator[Cell]:
    """The results of each query by group, against library and target. Blocks; errors: see `audit_bias`."""
    if not settings.queries:
        return
    if descriptor is None:
        raise UsageError("queries without the descriptor of the space; expected --space or a server")
    whole = [dimension.counts().tolist() for dimension in survey.dimensions]
    with closing(open_library(survey.uri)) as library:
        searcher = Searcher(library, descriptor)
        for query in settings.queries:
            found = ask(query, searcher, settings.weights, settings.limit)
            for source, dimension, of_counts in zip(settings.sources, survey.dimensions, whole, strict=True):
                counts, size = result_counts(found, source, dimension.groups)
                cells = _cells("query", query.name, dimension, of_counts, counts, size) if size else []
                yield from cells
                yield from _against_target(cells, settings)


def _place_cells(kind: str, places: Dimension, groups: Dimension, settings: BiasSettings) -> Iterator[Cell]:
    of_counts = groups.counts().tolist()
    for place, row in zip(places.groups, crossed(places, groups).tolist(), strict=True):
        size = sum(row)
        if size >= settings.least_titles:
            cells = _cells(kind, place, groups, of_counts, row, size)
            yield from cells
            yield from _against_target(cells, settings)


def _cells(
    kind: str, place: str, groups: Dimension, of_counts: Sequence[int], counts: Sequence[int], size: int
) -> list[Cell]:
    """A place against the library, `of_counts` of which are in each group."""
    known = sum(of_counts)
    return [
        Cell(kind, place, groups.name, name, counts[at], size, Against.LIBRARY, of_counts[at], known)
        for at, name in enumerate(groups.groups)
    ]


def _whole_cells(survey: Survey, groups: Dimension) -> list[Cell]:
    counts = groups.counts().tolist()
    return _cells("library", survey.uri, groups, counts, counts, sum(counts)) if sum(counts) else []


def _of_whole(survey: Survey) -> list[Cell]:
    return [cell for dimension in survey.dimensions for cell in _whole_cells(survey, dimension)]


def _against_target(cells: Sequence[Cell], settings: BiasSettings) -> Iterator[Cell]:
    for cell in cells:
        if cell.group in settings.target:
            yield replace(cell, against=Against.TARGET, target=settings.target[cell.group])


def _against_library(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.against == Against.LIBRARY]


def _between(first: Sequence[Cell], second: Sequence[Cell]) -> Iterator[Cell]:
    """Places of two stores, of the same kind and name; whole libraries are such whatever their names."""
    others = {_key(cell): cell for cell in second}
    for cell in first:
        other = others.get(_key(cell))
        if other is not None:
            yield compared(cell, other)


def _key(cell: Cell) -> tuple[str, str, str, str]:
    return cell.kind, "" if cell.kind == "library" else cell.place, cell.dimension, cell.group
