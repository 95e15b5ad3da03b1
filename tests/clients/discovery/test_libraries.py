"""Every store can be searched: the same titles and segments are found, whoever looks for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import models

from resonance.clients.discovery import qdrant_library
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.qdrant_library import QdrantLibrary
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.discovery.sample import sample_library
from resonance.clients.discovery.types import Filter, Library
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.qdrant_points import payload_of, points_of, title_id
from resonance.clients.ingest.stores import open_sink
from resonance.space import unit
from resonance.space.errors import SpaceMismatchError
from tests.clients.discovery.made import SPACE, Made, random_titles, write
from tests.clients.ingest.store_uris import KINDS, store_uri

TITLES = random_titles(40)


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with store_uri(request.param, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def stored(uri: str) -> str:
    write(uri, TITLES[:25])
    write(uri, TITLES[25:], batch="2")
    return uri


def some_query(seed: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal(1788)).astype(np.float32)


def expected_titles(query: np.ndarray, only: Filter, titles: list[Made] = TITLES) -> list[str]:
    taken = [t for t in titles if only.takes(facts_of(t))]
    return [t.media_id for t in sorted(taken, key=lambda t: -float(t.vector @ query))]


def expected_segments(query: np.ndarray, only: Filter) -> list[tuple[str, int]]:
    taken = [(t.media_id, s) for t in TITLES if only.takes(facts_of(t)) for s in t.segments]
    return [(m, s.index) for m, s in sorted(taken, key=lambda pair: -float(pair[1].vector @ query))]


def nearest_segments(library: Library, query: np.ndarray, limit: int, only: Filter) -> list[tuple[str, int]]:
    return [(f.media_id, f.segment.index) for f in library.nearest_segments(query, limit, only)]


def facts_of(made: Made):  # type: ignore[no-untyped-def]
    from resonance.clients.discovery.rows import facts_of

    return facts_of(made.row().to_pylist()[0])


FILTERS = {
    "all": Filter(),
    "a tag": Filter(tags=("rare",)),
    "two tags": Filter(tags=("film", "rare")),
    "a tag nobody has": Filter(tags=("none",)),
    "a language": Filter(languages=("de",)),
    "two languages": Filter(languages=("de", "en")),
    "since": Filter(since=date(2026, 6, 15)),
    "until": Filter(until=date(2026, 6, 15)),
    "a day": Filter(since=date(2026, 4, 15), until=date(2026, 4, 15)),
    "sound": Filter(modalities=("audio",)),
    "pictures or words of a tag": Filter(modalities=("visual", "transcript"), tags=("film",)),
    "excluded": Filter(excluded=frozenset({"t1", "t2", "t39"})),
    "everything": Filter(
        tags=("film",),
        languages=("en",),
        modalities=("visual",),
        since=date(2026, 2, 1),
        excluded=frozenset({"t4"}),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_nearest_titles_and_segments_are_those_of_plain_arithmetic(stored: str, name: str) -> None:
    only, query = FILTERS[name], some_query()
    with closing(open_library(stored)) as library:
        titles = [found.facts.media_id for found in library.nearest_titles(query, 7, only)]
        segments = nearest_segments(library, query, 11, only)
    assert titles == expected_titles(query, only)[:7]
    assert segments == expected_segments(query, only)[:11]


@pytest.mark.parametrize("few", [1, 256])
@pytest.mark.parametrize("name", ["since", "until", "a day", "everything", "excluded"])
def test_segments_of_some_titles_are_found_however_many_others_are_nearer(
    stored: str, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_library, "_MOST_AT_ONCE", 4)
    monkeypatch.setattr(qdrant_library, "_FEW_NAMES", few)
    only, query = FILTERS[name], some_query()
    with closing(open_library(stored)) as library:
        segments = nearest_segments(library, query, 3, only)
        nobody = Filter(since=date(2031, 1, 1))
        assert library.nearest_segments(query, 3, nobody) == []
    assert len(segments) == 3
    assert segments == expected_segments(query, only)[:3]


@pytest.mark.parametrize("uri", ["qdrant", "qdrant server"], indirect=True)
@pytest.mark.parametrize("name", ["since", "until", "excluded", "everything"])
def test_many_names_are_not_put_into_a_filter(
    stored: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be compared with each segment, and sent with each question."""
    monkeypatch.setattr(qdrant_library, "_FEW_NAMES", 2)
    monkeypatch.setattr(qdrant_library, "is_of", None)
    only, query = FILTERS[name], some_query()
    with closing(open_library(stored)) as library:
        segments = nearest_segments(library, query, 200, only)
    assert segments == expected_segments(query, only)


@pytest.mark.parametrize("uri", ["qdrant", "qdrant server"], indirect=True)
@pytest.mark.parametrize("few", [1, 256])
@pytest.mark.parametrize("name", ["a day", "everything"])
def test_days_are_known_of_titles_that_were_stored_before_qdrant_was_told_them(
    stored: str, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_library, "_FEW_NAMES", few)
    only, query = FILTERS[name], some_query()
    with closing(open_library(stored)) as library:
        assert isinstance(library, QdrantLibrary)
        earlier = [title_id(made.media_id) for made in TITLES[:25]]
        collections = library._collections
        collections.client.delete_payload(collections.titles, ["day"], points=earlier, wait=True)
        titles = [found.facts.media_id for found in library.nearest_titles(query, 7, only)]
        segments = nearest_segments(library, query, 11, only)
    assert titles == expected_titles(query, only)[:7]
    assert segments == expected_segments(query, only)[:11]


def test_what_is_found_is_what_was_stored_to_the_bit(stored: str) -> None:
    by_name = {made.media_id: made for made in TITLES}
    with closing(open_library(stored)) as library:
        assert library.count() == len(TITLES)
        for found in library.nearest_titles(some_query(), 5, Filter()):
            made = by_name[found.facts.media_id]
            assert found.facts == facts_of(made)
            assert np.array_equal(found.vector, made.vector)
        for hit in library.nearest_segments(some_query(), 5, Filter()):
            same(hit.segment, by_name[hit.media_id].segments[hit.segment.index])
        whole = library.titles(["t3", "t30", "nobody"])
        assert sorted(whole) == ["t3", "t30"]
        assert whole["t3"].arcs == {"pacing": [(4.0, 0.0), (12.0, 0.5), (20.0, 1.0)]}
        for mine, theirs in zip(by_name["t30"].segments, whole["t30"].segments, strict=True):
            same(mine, theirs)


def same(mine, theirs) -> None:  # type: ignore[no-untyped-def]
    assert np.array_equal(mine.vector, theirs.vector)
    assert asdict(replace(mine, vector=None)) == asdict(replace(theirs, vector=None))


def test_vectors_by_name(stored: str) -> None:
    with closing(open_library(stored)) as library:
        found = library.vectors(["t3", "t30", "nobody"])
    assert sorted(found) == ["t3", "t30"]
    for name, vector in found.items():
        assert vector.dtype == np.float32
        assert np.array_equal(vector, TITLES[int(name[1:])].vector)


def test_the_best_segment_of_each_title(stored: str) -> None:
    query = some_query(3)
    with closing(open_library(stored)) as library:
        found = library.best_segments(query, ["t5", "t6", "t31", "nobody"])
    best = {
        name: max(range(3), key=lambda at: float(TITLES[int(name[1:])].segments[at].vector @ query))
        for name in ("t5", "t6", "t31")
    }
    assert {name: hit.segment.index for name, hit in found.items()} == best


@pytest.mark.parametrize("uri", ["qdrant server"], indirect=True)
def test_a_server_is_asked_for_best_segments_in_requests_that_it_takes(
    stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each title's question holds the whole query as JSON, and a server takes 32 MB a request."""
    monkeypatch.setattr(qdrant_library, "POINTS_AT_ONCE", 10)
    names, query, sizes = [title.media_id for title in TITLES], some_query(3), []
    with closing(open_library(stored)) as library:
        assert isinstance(library, QdrantLibrary)
        client = library._collections.client
        ask = client.query_batch_points

        def counted(name: str, requests: list[models.QueryRequest]) -> list[models.QueryResponse]:
            sizes.append(len(requests))
            return ask(name, requests)

        monkeypatch.setattr(client, "query_batch_points", counted)
        found = library.best_segments(query, names)
        assert library.best_segments(query, []) == {}
    assert sizes == [10, 10, 10, 10]
    for title in TITLES:
        best = max(range(3), key=lambda at: float(title.segments[at].vector @ query))
        assert found[title.media_id].segment.index == best


def test_facts_and_arcs_of_all_and_of_some(stored: str) -> None:
    with closing(open_library(stored)) as library:
        assert sorted(f.media_id for f in library.facts()) == sorted(t.media_id for t in TITLES)
        assert [f.media_id for f in library.facts(["t8"])] == ["t8"]
        assert {name: len(arcs["pacing"]) for name, arcs in library.arcs()} == {t.media_id: 3 for t in TITLES}
        assert [name for name, _ in library.arcs(["t8", "gone"])] == ["t8"]


def test_a_replaced_title_is_found_in_its_later_version_alone(stored: str) -> None:
    turned = replace(TITLES[4], blocks=-TITLES[4].blocks)
    write(stored, [turned], batch="3", version="v2")
    query = TITLES[4].segments[1].vector
    with closing(open_library(stored)) as library:
        hits = library.nearest_segments(query, 120, Filter())
        assert len(hits) == 120
        mine = [hit.segment for hit in hits if hit.media_id == "t4"]
        assert len(mine) == 3
        for segment in mine:
            assert np.array_equal(segment.vector, turned.segments[segment.index].vector)
        assert library.best_segments(-query, ["t4"])["t4"].segment.index == 1


def test_text_without_a_clock_has_no_times(uri: str) -> None:
    write(uri, [replace(TITLES[0], clock=False)])
    with closing(open_library(uri)) as library:
        (hit, *_) = library.nearest_segments(some_query(), 3, Filter())
        assert hit.segment.start_s is None
        assert next(iter(library.facts())).duration_s is None


def test_more_titles_than_there_are(uri: str) -> None:
    write(uri, TITLES[:2])
    with closing(open_library(uri)) as library:
        assert len(library.nearest_titles(some_query(), 100, Filter())) == 2


@pytest.mark.parametrize(
    ("uri", "number"),
    [("parquet", np.nan), ("parquet", np.inf), ("qdrant", np.inf)],  # Qdrant takes no NaN
    indirect=["uri"],
)
def test_a_vector_that_is_not_finite_is_told_by_its_title(uri: str, number: float) -> None:
    write(uri, TITLES[:3])
    sink = open_sink(uri, SPACE)
    sink.write(spoilt(TITLES[3], number), batch="2")
    sink.close()
    bad, good, query = TITLES[3].media_id, TITLES[0].media_id, some_query()
    with closing(open_library(uri)) as library:
        asked: tuple[Callable[[], object], ...] = (
            lambda: library.nearest_titles(query, 20, Filter()),
            lambda: library.nearest_segments(query, 100, Filter()),
            lambda: library.titles([good, bad]),
            lambda: library.vectors([good, bad]),
            lambda: library.best_segments(query, [good, bad]),
            lambda: sample_library(library),
        )
        for ask in asked:
            with pytest.raises(
                StoreError, match=f"title '{bad}' .*NaN or infinity.*resonance validate"
            ) as caught:
                ask()
            assert caught.value.uri == uri
        assert set(library.titles([good])) == {good}


def test_a_scan_tells_of_it_however_few_are_wanted(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "store"), SPACE)
    sink.write(pa.concat_tables([*(t.row() for t in TITLES[:9]), spoilt(TITLES[9], np.nan)]), batch="1")
    sink.close()
    with closing(open_library(str(tmp_path / "store"))) as library:
        for limit in (1, 5, 100):
            with pytest.raises(StoreError, match=TITLES[9].media_id):
                library.nearest_titles(some_query(), limit, Filter())


def spoilt(title: Made, number: float) -> pa.Table:
    """Its row with one number of each vector replaced."""
    row = title.row()
    segments = row["segments"].combine_chunks()
    parts = segments.flatten()
    columns = [parts.field(field.name) for field in parts.type]
    at = parts.type.get_field_index("vector")
    columns[at] = _with(columns[at], number)
    parts = pa.StructArray.from_arrays(columns, fields=list(parts.type))
    for name, column in (
        ("vector", _with(row["vector"].combine_chunks(), number)),
        ("segments", pa.ListArray.from_arrays(segments.offsets, parts)),
    ):
        row = row.set_column(row.schema.get_field_index(name), row.schema.field(name), column)
    return row


def _with(vectors: pa.FixedSizeListArray, number: float) -> pa.FixedSizeListArray:
    rows = vectors_of(vectors).copy()
    rows[:, 7] = number
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=vectors.type)


def put_again(library: QdrantLibrary, name: str, media_id: str, **payload: object) -> None:
    """Write the points of a title in the collection `name` again, as another job would."""
    client = library._collections.client
    found, following = client.scroll(name, limit=1000, with_payload=True, with_vectors=True)
    assert following is None
    points = [point for point in found if payload_of(point)["media_id"] == media_id]
    assert points
    client.upsert(
        name,
        [
            models.PointStruct(id=point.id, vector=point.vector, payload={**payload_of(point), **payload})
            for point in points
        ],
        wait=True,
    )


@pytest.mark.parametrize("uri", ["qdrant", "qdrant server"], indirect=True)
def test_what_is_of_another_space_is_told_and_not_ranked(uri: str) -> None:
    write(uri, TITLES[:4])
    query = some_query()
    best = expected_titles(query, Filter(), TITLES[:4])[0]
    with closing(open_library(uri)) as library:
        assert isinstance(library, QdrantLibrary)
        titles, segments = library._collections.titles, library._collections.segments
        asked: tuple[tuple[str, Callable[[], object]], ...] = (
            (titles, lambda: library.nearest_titles(query, 1, Filter())),
            (segments, lambda: library.nearest_segments(query, 12, Filter())),
            (segments, lambda: library.best_segments(query, [best])),
        )
        for name, ask in asked:
            assert ask()
            put_again(library, name, best, fingerprint="f" * 64)
            with pytest.raises(SpaceMismatchError, match=f"title {best}.*ffffffffffff"):
                ask()
            put_again(library, name, best, fingerprint=SPACE.fingerprint)


@pytest.mark.parametrize("uri", ["qdrant", "qdrant server"], indirect=True)
def test_what_was_stored_before_damage_was_kept_is_found(uri: str) -> None:
    write(uri, TITLES[:4])
    query, everything = some_query(), Filter()
    with closing(open_library(uri)) as library:
        assert isinstance(library, QdrantLibrary)
        expected = library.nearest_titles(query, 4, everything)
        for made in TITLES[:4]:
            row = {name: value for name, value in json_row(made).items() if name != "damage"}
            put_again(library, library._collections.titles, made.media_id, row=json.dumps(row))
        found = library.nearest_titles(query, 4, everything)
        assert [one.facts for one in found] == [one.facts for one in expected]
        assert list(library.facts([TITLES[0].media_id])) == [facts_of(TITLES[0])]


def json_row(made: Made) -> dict[str, Any]:
    """What a title's point has of its row."""
    (titles, _) = points_of(made.row(), SPACE)
    row: dict[str, Any] = json.loads((titles[0].payload or {})["row"])
    return row


@pytest.mark.parametrize("uri", ["parquet", "qdrant"], indirect=True)
def test_a_store_that_is_not_there(uri: str) -> None:
    with pytest.raises(StoreError, match="resonance ingest"):
        open_library(uri)


def test_a_span_that_ends_before_it_begins() -> None:
    with pytest.raises(UsageError, match="2026-02-01 lies after until 2026-01-01"):
        Filter(since=date(2026, 2, 1), until=date(2026, 1, 1))
