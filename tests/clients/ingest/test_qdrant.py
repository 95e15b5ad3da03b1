"""Qdrant: what a search may show while titles are replaced, and what is exact in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models

from resonance.clients.errors import CredentialsError, UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.qdrant import QdrantStore
from resonance.clients.ingest.qdrant_place import QdrantPlace, qdrant_place
from resonance.clients.ingest.qdrant_points import points_of
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.ingest.types import StorageFault
from resonance.space.errors import SpaceMismatchError
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_row, made_rows
from tests.clients.ingest.qdrant_server import API_KEY, qdrant_server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("QDRANT_API_KEY", API_KEY)
    with qdrant_server(tmp_path) as address:
        yield address


def client_of(address: str) -> QdrantClient:
    return QdrantClient(url=f"http://{address}", api_key=API_KEY, check_compatibility=False)


def write(uri: str, rows: pa.Table, *replaces: str) -> None:
    sink = open_sink(uri, SPACE)
    sink.write(rows, batch="unused", replaces=replaces)
    sink.close()


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("qdrant://host/films", QdrantPlace("http://host:6333", None, "films")),
        ("qdrants://host:7000/films", QdrantPlace("https://host:7000", None, "films")),
        ("qdrant://[::1]:7000/films", QdrantPlace("http://[::1]:7000", None, "films")),
        ("qdrant+local:/data/q?name=films", QdrantPlace(None, Path("/data/q"), "films")),
        ("qdrant+local:q", QdrantPlace(None, Path("q"), "titles")),
        ("/data/vectors", None),
        ("s3://bucket/vectors", None),
    ],
)
def test_addresses(uri: str, place: QdrantPlace | None) -> None:
    assert qdrant_place(uri) == place


@pytest.mark.parametrize(
    "uri",
    [
        "qdrant://",
        "qdrant://host",
        "qdrant://host:1/a/b",
        "qdrant://host:x/a",
        "qdrant+local:",
        "qdrants:///n",
    ],
)
def test_addresses_that_lack_something(uri: str) -> None:
    with pytest.raises(UsageError, match="expected qdrant://HOST:PORT/NAME"):
        qdrant_place(uri)


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(StoreError, match="a Qdrant that answers"):
        open_sink("qdrant://127.0.0.1:9/films", SPACE)


def test_a_key_does_not_travel_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", API_KEY)
    with pytest.raises(CredentialsError, match="qdrants://"):
        open_sink("qdrant://qdrant.example/films", SPACE)


def test_a_key_that_the_server_does_not_take(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "another")
    with pytest.raises(StoreError, match="403"):
        open_sink(f"qdrant://{server}/films", SPACE)


def test_a_collection_of_something_else(server: str) -> None:
    client_of(server).create_collection(
        "films-titles",
        vectors_config=models.VectorParams(size=1788, distance=models.Distance.DOT),
        metadata={"owner": "others"},
    )
    with pytest.raises(StoreError, match="films-titles of something else"):
        open_sink(f"qdrant://{server}/films", SPACE)


def test_a_server_that_does_not_keep_the_space_is_given_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", API_KEY)
    with qdrant_server(tmp_path, keeps_metadata=False) as address:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"expected Qdrant 1\.16 or newer"):
                open_sink(f"qdrant://{address}/films", SPACE)
        client = client_of(address)
        assert not any(client.collection_exists(f"films-{kind}") for kind in ("titles", "segments"))


def test_an_embedded_one_that_another_uses(tmp_path: Path) -> None:
    sink = open_sink(f"qdrant+local:{tmp_path}/q", SPACE)
    with pytest.raises(StoreError, match="a folder nobody else uses"):
        open_store(f"qdrant+local:{tmp_path}/q")
    sink.close()


def test_numbers_of_any_length_come_back_bit_for_bit(server: str) -> None:
    """The engine's own payload is a unit in the last place off in a third of such numbers; rows are not."""
    rows = pa.concat_tables([made_row(f"t{n}", segments=20) for n in range(5)])
    write(f"qdrant://{server}/films", rows)
    store = open_store(f"qdrant://{server}/films")
    found = pa.Table.from_batches(list(store.titles())).sort_by("media_id")
    store.close()
    assert found.equals(rows)
    points, _ = client_of(server).scroll("films-segments", limit=100)
    shown = sorted(point.payload["axes"]["tension"] for point in points if point.payload)
    exact = sorted(dict(s["axes"])["tension"] for parts in rows["segments"].to_pylist() for s in parts)
    assert shown == pytest.approx(exact, rel=1e-15)


def test_payloads_hold_what_people_filter_by(server: str) -> None:
    write(f"qdrant://{server}/films", made_rows("a"))
    client = client_of(server)
    (title,), _ = client.scroll("films-titles", limit=9)
    assert title.payload is not None
    assert title.payload.keys() == {
        *("media_id", "uri", "transcript_uri", "content_hash", "language", "tags", "attributes"),
        *("duration_s", "present", "axes", "damage", "segments", "fingerprint", "day", "row"),
    }
    assert title.payload["tags"] == ["news", "short"]
    assert title.payload["attributes"] == {"year": "1999"}
    assert title.payload["segments"] == 3
    segments, _ = client.scroll("films-segments", limit=9)
    assert {point.payload["index"] for point in segments if point.payload} == {0, 1, 2}
    for point in segments:
        assert point.payload is not None
        assert point.payload.keys() == {
            *("media_id", "version", "fingerprint", "index", "start_s", "end_s", "present", "salience"),
            *("signals", "axes", "sampled_by", "tags", "language", "row"),
        }


@pytest.mark.parametrize("norm", [1.0, 3.0])
def test_dot_products_are_of_vectors_as_they_are(tmp_path: Path, norm: float) -> None:
    """Nothing is normalised on the way in, so a score is the product with what was written."""
    write(f"qdrant+local:{tmp_path}/q?name=films", made_rows("a", "b"))
    client = QdrantClient(path=str(tmp_path / "q"))
    vectors = np.stack([made_row(name)["vector"][0].values.to_numpy() for name in "ab"])
    query = norm * vectors[0]
    hits = client.query_points("films-titles", query=query.tolist(), limit=2).points
    client.close()
    assert [hit.payload["media_id"] for hit in hits if hit.payload] == ["a", "b"]
    assert [hit.score for hit in hits] == pytest.approx(vectors @ query, abs=1e-5)


def test_segments_of_a_broken_off_write_are_not_shown(server: str) -> None:
    uri = f"qdrant://{server}/films"
    write(uri, made_rows("a", "b"))
    client = client_of(server)
    _, later = points_of(made_row("a", "v2", segments=2), SPACE)
    _, without_title = points_of(made_row("c"), SPACE)
    client.upsert("films-segments", [*later, *without_title])  # and killed before the titles
    place = qdrant_place(uri)
    assert place is not None
    store = QdrantStore(uri, place)
    hits, _ = client.scroll("films-segments", limit=100)
    assert len(hits) == 3 + 3 + 2 + 3
    shown = store.visible(hits)
    assert sorted((hit.payload["media_id"], hit.payload["version"]) for hit in shown if hit.payload) == [
        *[("a", "v1")] * 3,
        *[("b", "v1")] * 3,
    ]
    found = pa.Table.from_batches(list(store.titles())).sort_by("media_id")
    assert found.equals(made_rows("a", "b"))
    strays = [fault for fault in store.faults() if fault.kind == "segment without its title"]
    assert sorted(fault.where for fault in strays) == ["a", "a", "c", "c", "c"]
    write(uri, pa.concat_tables([made_row("a", "v2", segments=2), made_row("c")]), "a", "c")
    assert list(store.faults()) == []
    store.close()


def test_a_title_that_lacks_segments_is_no_title(server: str) -> None:
    uri = f"qdrant://{server}/films"
    write(uri, made_rows("a", "b"))
    client_of(server).delete(
        "films-segments",
        models.Filter(must=[models.FieldCondition(key="media_id", match=models.MatchValue(value="a"))]),
    )
    store = open_store(uri)
    with pytest.raises(StoreError, match="title a has 0 of its 3 segments"):
        list(store.titles())
    assert list(store.faults()) == [StorageFault("title that lacks segments", "a")]
    store.close()


def test_points_of_another_space_are_refused(server: str) -> None:
    uri = f"qdrant://{server}/films"
    write(uri, made_rows("a"))
    titles, segments = points_of(made_row("b", space=OTHER_SPACE), OTHER_SPACE)  # by another hand
    client = client_of(server)
    client.upsert("films-segments", segments)
    client.upsert("films-titles", titles)
    store = open_store(uri)
    with pytest.raises(SpaceMismatchError, match="title b"):
        list(store.titles())
    store.close()
    store = open_store(uri, lenient=True)
    assert [row["media_id"] for batch in store.titles(["media_id"]) for row in batch.to_pylist()] == ["a"]
    assert [(fault.kind, fault.where) for fault in store.faults()] == [
        ("title of another space", "b"),
        *[("segment of another space", "b")] * 3,
    ]
    store.close()
