"""A library that Qdrant searches, embedded or a server."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import date

import numpy as np
from qdrant_client import models

from resonance.clients.discovery.checks import check_finite
from resonance.clients.discovery.rows import facts_of, segments_of
from resonance.clients.discovery.stored_library import StoredLibrary
from resonance.clients.discovery.types import (
    Filter,
    FoundSegment,
    FoundTitle,
)
from resonance.clients.ingest.qdrant import Hit, QdrantStore
from resonance.clients.ingest.qdrant_collections import is_of, version_filter
from resonance.clients.ingest.qdrant_place import QdrantPlace
from resonance.clients.ingest.qdrant_points import (
    DAY,
    FINGERPRINT,
    MEDIA_ID,
    ROW,
    VERSION,
    payload_of,
    title_id,
)
from resonance.clients.ingest.qdrant_points import segments_of as rows_of_segments
from resonance.clients.ingest.qdrant_titles import POINTS_AT_ONCE, scroll
from resonance.clients.ingest.types import day_of
from resonance.clients.results import Vector
from resonance.space.errors import SpaceMismatchError

#: Segments asked for at most, where some of them are left out and leave fewer than are wanted.
_MOST_AT_ONCE = 4096
_NAMES_AT_ONCE = 1024
#: Names that a filter may have whatever else it has: 256 of 100 bytes are 25 KB.
_FEW_NAMES = 256
_WANTED = [MEDIA_ID, VERSION, FINGERPRINT, ROW]
_VISIBLE = [MEDIA_ID, VERSION]
_ATTRIBUTES = "attributes"
#: What the day of a title is told from.
_OF_DAYS = [MEDIA_ID, DAY, _ATTRIBUTES]


class QdrantLibrary(StoredLibrary):
    """See `resonance.clients.discovery.types.Library`.

    Raises (all methods):
        StoreError: there are no such collections, or Qdrant failed.
        SpaceMismatchError: what was found is of another space than the store.
    """

    def __init__(self, uri: str, place: QdrantPlace) -> None:
        store = QdrantStore(uri, place)
        super().__init__(store)
        self._collections, self._visible = store.collections, store.visible
        self._on_server = place.url is not None

    def nearest_titles(self, vector: Vector, limit: int, only: Filter) -> list[FoundTitle]:
        """See `Library`."""
        ids: list[models.ExtendedPointId] = [title_id(m) for m in sorted(only.excluded)]
        excluded = models.HasIdCondition(has_id=ids) if ids else None
        wanted = _filter(only, [*_conditions(only), *self._dates(only)], excluded)
        points = self._query(self._collections.titles, vector, limit, wanted, _WANTED, vectors=True)
        return [_title(self._checked(point)) for point in points]

    def nearest_segments(self, vector: Vector, limit: int, only: Filter) -> list[FoundSegment]:
        """See `Library`.

        Days stand with titles alone, so a filter can have them only as names of titles, as it has those
        that are excluded. Names cost: the embedded Qdrant compares each with each segment, and a server is
        sent all of them. So where they are many, segments are asked for without them, and what is not wanted
        is left out here; names follow only where the nearest `_MOST_AT_ONCE` hold too few.
        """
        # of the titles of its days, if it has any
        dated = _filter(only, [*_conditions(only), *self._dates(only)], None) if _has_dates(only) else None
        if self._are_many(only, dated):
            found, complete = self._taken_segments(
                vector, limit, only, _filter(only, _conditions(only), None)
            )
            if complete:
                return self._whole(found)
        if dated is not None:
            names = [name for name in self._names(dated) if name not in only.excluded]
            if not names:
                return []
            wanted = _filter(only, [is_of(names)], None)
        else:
            wanted = _filter(only, _conditions(only), is_of(sorted(only.excluded)) if only.excluded else None)
        return self._whole(self._taken_segments(vector, limit, only, wanted)[0])

    def _are_many(self, only: Filter, dated: models.Filter | None) -> bool:
        """Whether a filter of `only`, whose titles `dated` finds, would have many names."""
        if len(only.excluded) > _FEW_NAMES:
            return True
        if dated is None:
            return False
        with self._collections.named():
            return self._collections.client.count(self._collections.titles, dated).count > _FEW_NAMES

    def _taken_segments(
        self, vector: Vector, limit: int, only: Filter, wanted: models.Filter | None
    ) -> tuple[list[models.ScoredPoint], bool]:
        """The nearest segments of those that `wanted` lets through, and whether there are no others.

        They have no vectors, for many are looked at.

        Segments of earlier versions and of titles that `only` does not take are left out; more are asked for
        until there are enough.
        """
        asked = limit
        while True:
            points = self._query(self._collections.segments, vector, asked, wanted, _VISIBLE, vectors=False)
            found = self._taken(self._visible(points), only)
            complete = len(found) >= limit or len(points) < asked
            if complete or asked >= _MOST_AT_ONCE:
                return found[:limit], complete
            asked = min(4 * asked, _MOST_AT_ONCE)

    def _taken(self, points: Sequence[models.ScoredPoint], only: Filter) -> list[models.ScoredPoint]:
        """Those of segments whose title is not excluded, and of the days of `only`."""
        names = {payload_of(point)[MEDIA_ID] for point in points} - only.excluded
        if _has_dates(only):
            with self._collections.named():
                titles = self._collections.client.retrieve(
                    self._collections.titles, [title_id(name) for name in names], with_payload=_OF_DAYS
                )
            names = {payload_of(title)[MEDIA_ID] for title in titles if only.takes_day(_day(title))}
        return [point for point in points if payload_of(point)[MEDIA_ID] in names]

    def _whole(self, points: Sequence[models.ScoredPoint]) -> list[FoundSegment]:
        """Segments with all that is stored of them, in the same order; without what was removed meanwhile."""
        ids, found = [point.id for point in points], {}
        for at in range(0, len(ids), POINTS_AT_ONCE):
            with self._collections.named():
                records = self._collections.client.retrieve(
                    self._collections.segments,
                    ids[at : at + POINTS_AT_ONCE],
                    with_payload=_WANTED,
                    with_vectors=True,
                )
            found.update({record.id: _segment(self._checked(record)) for record in records})
        return [found[name] for name in ids if name in found]

    def _names(self, wanted: models.Filter) -> list[str]:
        """The titles that `wanted` lets through."""
        with self._collections.named():
            pages = scroll(
                self._collections, self._collections.titles, _NAMES_AT_ONCE, wanted, payload=[MEDIA_ID]
            )
            return [payload_of(point)[MEDIA_ID] for page in pages for point in page]

    def _dates(self, only: Filter) -> list[models.Condition]:
        """That a title is of the days of `only`."""
        if not _has_dates(only):
            return []
        since, until = (None if day is None else f"{day}T00:00:00Z" for day in (only.since, only.until))
        span = models.DatetimeRange.model_validate({"gte": since, "lte": until})
        named = models.FieldCondition(key=DAY, range=span)
        earlier = self._of_earlier_releases(only)
        return [models.Filter(should=[named, models.HasIdCondition(has_id=earlier)]) if earlier else named]

    def _of_earlier_releases(self, only: Filter) -> list[models.ExtendedPointId]:
        """Titles of the days of `only` that were stored before titles had the field `DAY`, null or not."""
        field = models.PayloadField(key=DAY)
        without = models.Filter(
            must=[models.IsEmptyCondition(is_empty=field)], must_not=[models.IsNullCondition(is_null=field)]
        )
        with self._collections.named():
            pages = scroll(
                self._collections, self._collections.titles, _NAMES_AT_ONCE, without, payload=_OF_DAYS
            )
            return [point.id for page in pages for point in page if only.takes_day(_day(point))]

    def _query(
        self,
        name: str,
        vector: Vector,
        limit: int,
        wanted: models.Filter | None,
        payload: list[str],
        *,
        vectors: bool,
    ) -> list[models.ScoredPoint]:
        with self._collections.named():
            return self._collections.client.query_points(
                name,
                query=np.asarray(vector, np.float32).tolist(),
                query_filter=wanted,
                limit=limit,
                with_payload=payload,
                with_vectors=vectors,
            ).points

    def _checked(self, point: Hit) -> Hit:
        """A point that was found, if it is of the store's space and finite: others write to Qdrant, too."""
        payload = payload_of(point)
        if payload.get(FINGERPRINT) != self.space.fingerprint:
            raise SpaceMismatchError(
                self.space.fingerprint,
                str(payload.get(FINGERPRINT)),
                f"{self.uri}, title {payload[MEDIA_ID]}",
            )
        check_finite(self.uri, [payload[MEDIA_ID]], np.array([point.vector], np.float32))
        return point

    def best_segments(self, vector: Vector, media_ids: Collection[str]) -> dict[str, FoundSegment]:
        """See `Library`.

        A server looks among the segments of each title, which are indexed by name. The embedded one would
        look at every segment there is, so those of the titles are fetched by name and compared here.
        """
        if self._on_server:
            return self._asked_for(vector, media_ids)
        return super().best_segments(vector, media_ids)

    def _asked_for(self, vector: Vector, media_ids: Collection[str]) -> dict[str, FoundSegment]:
        query, names = np.asarray(vector, np.float32).tolist(), list(media_ids)
        found = {}
        for at in range(0, len(names), POINTS_AT_ONCE):  # each request holds the query
            with self._collections.named():
                versions = self._collections.versions(names[at : at + POINTS_AT_ONCE])
                answers = self._collections.client.query_batch_points(
                    self._collections.segments,
                    [
                        models.QueryRequest(
                            query=query,
                            filter=version_filter(name, version),
                            limit=1,
                            with_payload=_WANTED,
                            with_vector=True,
                        )
                        for name, version in versions.items()
                    ],
                )
            for point in (point for answer in answers for point in answer.points):
                found[payload_of(point)[MEDIA_ID]] = _segment(self._checked(point))
        return found


def _filter(
    only: Filter, must: list[models.Condition], must_not: models.Condition | None
) -> models.Filter | None:
    """With the modalities of `only`.

    None where nothing is asked for: an empty filter makes the embedded Qdrant look at every payload.
    """
    should: list[models.Condition] = [
        models.FieldCondition(key=f"present.{name}", match=models.MatchValue(value=True))
        for name in only.modalities
    ]
    if not must and not should and must_not is None:
        return None
    return models.Filter(must=must, should=should or None, must_not=None if must_not is None else [must_not])


def _conditions(only: Filter) -> list[models.Condition]:
    conditions: list[models.Condition] = [
        models.FieldCondition(key="tags", match=models.MatchValue(value=tag)) for tag in only.tags
    ]
    if only.languages:
        language = models.MatchAny(any=list(only.languages))
        conditions.append(models.FieldCondition(key="language", match=language))
    return conditions


def _has_dates(only: Filter) -> bool:
    return only.since is not None or only.until is not None


def _title(point: models.ScoredPoint) -> FoundTitle:
    return FoundTitle(facts_of(json.loads(payload_of(point)[ROW])), np.array(point.vector, np.float32))


def _day(title: models.Record) -> date | None:
    payload = payload_of(title)
    if DAY not in payload:  # stored before titles had it
        return day_of(payload.get(_ATTRIBUTES) or {})
    day = payload[DAY]
    return None if day is None else date.fromisoformat(day)


def _segment(point: models.ScoredPoint | models.Record) -> FoundSegment:
    record = models.Record(id=point.id, payload=point.payload, vector=point.vector)
    return FoundSegment(payload_of(point)[MEDIA_ID], segments_of(rows_of_segments([record]))[0])
