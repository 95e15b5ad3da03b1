"""An audit of representation: a store read by groups, clustered, its places compared as one family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from resonance.clients.audit.bias_queries import AskedQuery, ask, compared, result_counts
from resonance.clients.audit.clusters import Clusters, Reducer, find_clusters, sample_vectors
from resonance.clients.audit.groups import (
    Dimension,
    DimensionBuilder,
    GroupSource,
    check_sources,
    crossed,
    in_order,
    month_source,
)
from resonance.clients.audit.representation import Against, Cell, Correction, Finding, judge
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.discovery.search import Searcher
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_store
from resonance.clients.ingest.types import Store
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Weights

#: Runs that a store is cut into where time is the order of its titles.
PARTS_OF_ORDER = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSettings:
    """What is looked at, and how strictly.

    Attributes:
        sources: of groups. target: wanted shares by group.
        clusters: so many by k-means; None: see `find_clusters`.
        queries: of which the best `limit` titles are looked at.
        time: "date", "order" or None: how shares and clusters move over it.
        least_titles: groups and places of fewer titles are not tested; results of a query always are.
        least_deviation: smaller ones are no alert, however sure.

    Raises:
        UsageError: two sources are called the same.
    """

    sources: Sequence[GroupSource]
    target: Mapping[str, float] = field(default_factory=dict)
    clusters: int | None = None
    queries: Sequence[AskedQuery] = ()
    weights: Weights = field(default_factory=Weights)
    limit: int = 20
    time: str | None = None
    alpha: float = 0.05
    correction: Correction = Correction.BH
    least_titles: int = 20
    least_deviation: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_sources(self.sources)


@dataclass(frozen=True, slots=True)
class Survey:
    """A store as it was read.

    Attributes:
        variance_kept: by PCA, 0 to 1. dimensions: of `BiasSettings.sources`, in their order.
        months: titles by time; None where that was not asked for.
    """

    uri: str
    space: SpaceRef
    titles: int
    variance_kept: float
    dimensions: tuple[Dimension, ...]
    clusters: Clusters
    months: Dimension | None


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
    reading = read_store(uri, settings)
    first, second = reading.survey(settings), None
    _check_known(first, settings)
    if against is not None:
        # what one of the stores lacks, or has little of, is looked at in both: that may be what differs
        reading_second = read_store(against, settings)
        second = reading_second.survey(settings, like=first)
        first = reading.survey(settings, like=second)
    asked = list(query_cells(first, settings, descriptor))
    cells = _tested([*library_cells(first, settings), *asked], _twins(first))
    if against is not None and second is not None:
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


@dataclass(frozen=True, slots=True)
class Reading:
    """A store as it was read, before it is settled which groups are looked at; the rest as in `Survey`.

    Attributes:
        builders: of `BiasSettings.sources`, in their order.
    """

    uri: str
    space: SpaceRef
    titles: int
    variance_kept: float
    builders: tuple[DimensionBuilder, ...]
    clusters: Clusters
    months: Dimension | None

    def survey(self, settings: BiasSettings, *, like: Survey | None = None) -> Survey:
        """Groups that have enough titles here, that the target wants, or that are those of another store.

        Args:
            like: of which the groups are looked at as well, though they may not be here.

        Raises:
            UsageError: a target that fits no source.
        """
        wanted = _wanted_of(self.builders, settings)
        dimensions = tuple(
            builder.build(
                least_titles=settings.least_titles,
                kept={*wanted.get(at, ()), *(like.dimensions[at].groups if like else ())},
            )
            for at, builder in enumerate(self.builders)
        )
        return Survey(
            self.uri, self.space, self.titles, self.variance_kept, dimensions, self.clusters, self.months
        )


def read_store(uri: str, settings: BiasSettings) -> Reading:
    """Read a store, twice: once for the directions of PCA, once for groups and vectors together.

    Raises: see `audit_bias`.
    """
    if not settings.sources:
        raise UsageError("no group is named; expected at least one, such as --group language")
    with closing(open_store(uri)) as store:
        reducer = Reducer(sample_vectors(store, settings.seed), settings.seed)
        return _read(store, settings, reducer)


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


def _read(store: Store, settings: BiasSettings, reducer: Reducer) -> Reading:
    builders = tuple(DimensionBuilder(source) for source in settings.sources)
    month = DimensionBuilder(month_source()) if settings.time == "date" else None
    read_by = [*builders, *([month] if month else [])]
    columns = sorted({"media_id", "vector", *(builder.source.column for builder in read_by)})
    reduced = []
    for batch in store.titles(columns):
        values = {name: batch[name].to_pylist() for name in columns if name != "vector"}
        for builder in read_by:
            builder.add(values["media_id"], values[builder.source.column])
        reduced.append(reducer.reduce(vectors_of(batch["vector"])))
    titles = sum(map(len, reduced))
    months = month.build(least_titles=1) if month else None
    if settings.time == "order":
        months = in_order(titles, PARTS_OF_ORDER)
    clusters = find_clusters(np.concatenate(reduced), wanted=settings.clusters, seed=settings.seed)
    return Reading(store.uri, store.space, titles, reducer.kept, builders, clusters, months)


def _wanted_of(builders: Sequence[DimensionBuilder], settings: BiasSettings) -> dict[int, list[str]]:
    """Groups of the target, by the source that has them; of one source alone they all are its."""
    if not settings.target:
        return {}
    if len(builders) == 1:
        return {0: list(settings.target)}
    found: dict[int, list[str]] = {}
    for group in settings.target:
        having = [at for at, builder in enumerate(builders) if group in builder.known()]
        if len(having) != 1:
            names = ", ".join(builders[at].source.name for at in having) or "none"
            raise UsageError(f"target: group {group} stands in {names} of the sources; expected one of them")
        found.setdefault(having[0], []).append(group)
    return found


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
