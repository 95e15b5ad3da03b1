"""An explorer that stays open while its library changes."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from resonance.clients.discovery.history import Viewing
from resonance.clients.discovery.libraries import open_library
from resonance.clients.explorer import catalogue, renewed
from resonance.clients.explorer.catalogue import Catalogue
from resonance.clients.explorer.keys import key_of
from resonance.clients.explorer.renewed import Renewed
from resonance.clients.explorer.viewer import Viewer
from resonance.clients.ingest.qdrant import QdrantStore
from resonance.clients.ingest.qdrant_points import title_id
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.space.scores import query_from_vector
from tests.clients.discovery.made import DESCRIPTOR, SPACE, random_titles, write
from tests.clients.explorer.conftest import ORIGIN, made_title, make_client, write_store

TITLES = random_titles(30)
TOO_FEW = "too few titles"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the making took, and however soon after the last look."""
    monkeypatch.setattr(renewed, "MOST_OF_THE_TIME", 1e9)
    monkeypatch.setattr(catalogue, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Of five titles."""
    uri = str(tmp_path / "store")
    write(uri, TITLES[:5])
    return uri


@pytest.fixture
def client(store: str, tmp_path: Path) -> Iterator[TestClient]:
    viewing = Viewing("t20", 1.0, datetime(2026, 11, 1, tzinfo=UTC))
    viewer = Viewer("anna", [Viewing("t1", 1.0, viewing.watched_at), viewing])
    with make_client(store, tmp_path / "spaces", viewer=viewer) as made:
        yield made


def search(client: TestClient, source: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post("/api/search", json={"parts": [source], "limit": 50}, headers=ORIGIN)
    assert answer.status_code == 200, answer.text
    hits: list[dict[str, Any]] = answer.json()["hits"]
    return hits


async def test_a_taste_is_made_with_the_sigmas_of_the_day(store: str) -> None:
    viewer = Viewer("anna", [Viewing("t1", 1.0, datetime(2026, 11, 1, tzinfo=UTC))])
    shelf = Catalogue(open_library(store), browse_timeout_s=1.0)
    sigmas = {query: dict.fromkeys(row, 0.5) for query, row in DESCRIPTOR.sigmas.items()}
    for descriptor in (DESCRIPTOR, replace(DESCRIPTOR, sigmas=sigmas)):
        taste = await viewer.taste(shelf, descriptor)
        expected = query_from_vector(TITLES[1].vector, descriptor)
        np.testing.assert_allclose(taste.query.blocks, expected.blocks)
    assert await viewer.taste(shelf, descriptor) is taste
    shelf.close()


def test_titles_that_come_are_seen_and_say_what_is_usual(client: TestClient, store: str) -> None:
    like = {"source": "title", "key": key_of("t0")}
    before = search(client, like)
    taste = {hit["key"]: hit["score"] for hit in search(client, {"source": "history"})}
    assert len(before) == 4
    assert all(TOO_FEW in hit["sentence"] for hit in before)
    write(store, TITLES[5:], batch="2")
    assert client.get("/api/library").json()["titles"] == 30
    assert len(client.get("/api/titles").json()["titles"]) == 30
    after = search(client, like)
    assert len(after) == 29
    assert not any(TOO_FEW in hit["sentence"] for hit in after)
    scores = {h["key"]: h["score"] for h in search(client, {"source": "history"})}
    assert any(
        abs(scores[key] - taste[key]) > 1e-3 for key in taste
    )  # the other title that was watched is there


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Path, Path, bytes]:
    """A store of two pictures, the folder of these, and another picture's bytes."""
    media = tmp_path / "media"
    media.mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "red")):
        Image.new("RGB", (64, 48), colour).save(media / name)
    blue = io.BytesIO()
    Image.new("RGB", (64, 48), "blue").save(blue, "png")
    rows = [made_title(name, str(media / name), segments=1) for name in ("a.png", "b.png")]
    return write_store(tmp_path / "shown", rows), media, blue.getvalue()


def test_a_title_that_was_taken_out_is_shown_no_more(shown: tuple[Path, Path, bytes], tmp_path: Path) -> None:
    store, _, _ = shown
    with make_client(store, tmp_path / "spaces") as client:
        assert len(client.get("/api/titles").json()["titles"]) == 2
        poster = f"/media/{key_of('a.png')}/poster"
        assert client.get(poster).status_code == 200
        sink = open_sink(str(store), SPACE)
        sink.remove(["a.png"])
        sink.close()
        for what in ("poster", "clip", "file", "playback"):
            assert client.get(f"/media/{key_of('a.png')}/{what}").status_code == 404, what
        assert client.get(f"/media/{key_of('b.png')}/poster").status_code == 200


async def test_posters_of_a_page_ask_once_whether_the_library_changed(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "LOOK_EVERY_S", 60.0)
    library = open_library(store)
    asked = []
    monkeypatch.setattr(library, "revision", lambda: asked.append(1))
    page = catalogue.Catalogue(library, 1.0)
    for title in TITLES[:5]:
        assert (await page.facts(title.media_id)).media_id == title.media_id
    page.close()
    assert len(asked) == 1


def test_a_file_that_was_replaced_is_shown(shown: tuple[Path, Path, bytes], tmp_path: Path) -> None:
    store, media, blue = shown

    def pixel(client: TestClient) -> tuple[int, int, int]:
        poster = client.get(f"/media/{key_of('a.png')}/poster").content
        found = Image.open(io.BytesIO(poster)).getpixel((9, 9))
        assert isinstance(found, tuple)
        return found[:3]

    with make_client(store, tmp_path / "spaces") as client:
        red, _, _ = pixel(client)
        assert red > 200
        (media / "new").write_bytes(blue)
        os.replace(media / "new", media / "a.png")
        red, _, blue_level = pixel(client)
        assert red < 50
        assert blue_level > 200


def test_a_clip_of_a_file_that_was_replaced_is_another(made_store: Path, tmp_path: Path) -> None:
    library = open_library(str(made_store))
    films = [next(iter(library.facts([f"films/{name}"]))).uri for name in ("000000.mp4", "000001.mkv")]
    library.close()
    film = tmp_path / "film"
    shutil.copy(films[0], film)
    store = write_store(tmp_path / "store", [made_title("film", str(film))])
    with make_client(store, tmp_path / "spaces") as client:
        clips = []
        for other in (films[1], films[0]):
            clips.append(client.get(f"/media/{key_of('film')}/clip").content)
            shutil.copy(other, film)
    assert clips[0] != clips[1]


@pytest.mark.parametrize(("share", "made"), [(1e9, 2), (1e-9, 1)])
def test_what_takes_long_is_seldom_made(
    store: str, monkeypatch: pytest.MonkeyPatch, share: float, made: int
) -> None:
    monkeypatch.setattr(renewed, "MOST_OF_THE_TIME", share)
    library = open_library(store)
    count: Callable[[], int] = iter(range(9)).__next__
    kept = Renewed(library, count)
    assert (kept.get(), kept.get()) == (0, 0)  # nothing changed
    write(store, TITLES[5:6], batch="2")
    assert kept.get() == made - 1


def test_a_store_of_qdrant_has_another_revision_once_a_title_went(tmp_path: Path) -> None:
    uri = f"qdrant+local:{tmp_path / 'qdrant'}?name=x"
    write(uri, TITLES[:2])
    store = open_store(uri)
    assert isinstance(store, QdrantStore)
    before = store.revision()
    assert store.revision() == before
    store.collections.client.delete(store.collections.titles, [title_id("t0")])  # one process opens it
    assert store.revision() != before
    store.close()
