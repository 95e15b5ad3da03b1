"""What an audit of representation looks at, and a store as it was read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from resonance.clients.audit.bias_queries import AskedQuery
from resonance.clients.audit.clusters import Clusters, Reducer, find_clusters, sample_vectors
from resonance.clients.audit.groups import (
    Dimension,
    DimensionBuilder,
    GroupSource,
    check_sources,
    in_order,
    month_source,
)
from resonance.clients.audit.representation import Correction
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_store
from resonance.clients.ingest.types import Store
from resonance.clients.results import SpaceRef
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
        variance_kept: by PCA, 0 to 1. months: titles by time; None where that was not asked for.
        dimensions: of `BiasSettings.sources`, in their order: groups that have enough titles here, or that
            the target wants. builders: what they were made by.
    """

    uri: str
    space: SpaceRef
    titles: int
    variance_kept: float
    dimensions: tuple[Dimension, ...]
    clusters: Clusters
    months: Dimension | None
    builders: tuple[DimensionBuilder, ...]

    def with_groups_of(self, other: Survey, settings: BiasSettings) -> Survey:
        """The same, of which those groups are looked at as well, though they may not be here."""
        more = [dimension.groups for dimension in other.dimensions]
        return replace(self, dimensions=_dimensions(self.builders, settings, more))


def survey_store(uri: str, settings: BiasSettings) -> Survey:
    """Read a store, twice: once for the directions of PCA, once for groups and vectors together.

    Raises: see `resonance.clients.audit.bias.audit_bias`.
    """
    if not settings.sources:
        raise UsageError("no group is named; expected at least one, such as --group language")
    with closing(open_store(uri)) as store:
        reducer = Reducer(sample_vectors(store, settings.seed), settings.seed)
        return _read(store, settings, reducer)


def _dimensions(
    builders: Sequence[DimensionBuilder], settings: BiasSettings, more: Sequence[Sequence[str]] | None = None
) -> tuple[Dimension, ...]:
    """`more`: by builder, groups that are kept however few titles they have."""
    wanted = _wanted_of(builders, settings)
    return tuple(
        builder.build(
            least_titles=settings.least_titles, kept={*wanted.get(at, ()), *(more[at] if more else ())}
        )
        for at, builder in enumerate(builders)
    )


def _read(store: Store, settings: BiasSettings, reducer: Reducer) -> Survey:
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
    dimensions = _dimensions(builders, settings)
    clusters = find_clusters(np.concatenate(reduced), wanted=settings.clusters, seed=settings.seed)
    return Survey(store.uri, store.space, titles, reducer.kept, dimensions, clusters, months, builders)


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
