"""Searches, examples and titles over HTTP; the encoder server is away in all of them."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from resonance.clients.discovery.explanation import SuggestionFacts, explain_suggestion
from resonance.clients.discovery.history import read_history
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.stored_library import StoredLibrary
from resonance.clients.discovery.taste import make_taste
from resonance.clients.explorer import service
from resonance.clients.explorer.errors import ExpiredExampleError, UnknownTitleError
from resonance.clients.explorer.keys import key_of, media_id_of
from resonance.clients.explorer.settings import ExplorerSettings
from resonance.clients.explorer.shelf import ExampleShelf
from resonance.clients.explorer.viewer import Viewer
from resonance.clients.query import Example
from resonance.space import Weights, score
from resonance.space.scores import query_from_vector
from tests.clients.discovery.made import DESCRIPTOR
from tests.clients.explorer.conftest import (
    HOSTILE,
    MADE,
    ORIGIN,
    empty_store,
    made_title,
    make_client,
    write_store,
)


def search(client: TestClient, *likes: str, minus: tuple[str, ...] = (), **more: Any) -> list[dict[str, Any]]:
    parts = [{"source": "title", "key": key_of(name)} for name in likes]
    parts += [{"source": "title", "key": key_of(name), "weight": -0.5} for name in minus]
    answer = client.post("/api/search", json={"parts": parts, **more}, headers=ORIGIN)
    assert answer.status_code == 200, answer.text
    hits: list[dict[str, Any]] = answer.json()["hits"]
    return hits


def refused(client: TestClient, body: Any, path: str = "/api/search") -> tuple[int, str]:
    answer = client.post(path, json=body, headers=ORIGIN)
    error = answer.json()["error"]
    return answer.status_code, f"{error['kind']}: {error['text']}"


def test_library_and_server_are_told(client: TestClient) -> None:
    assert client.get("/api/library").json()["titles"] == MADE
    server = client.get("/api/server").json()
    assert server["reachable"] is False
    assert server["space_known"] is True
    assert server["said"]


def test_titles_are_ranked_as_the_space_ranks_them(client: TestClient, made_store: Path) -> None:
    weights = Weights(visual=2, audio=0.5, transcript=1)
    hits = search(client, "gone.mp4", weights={"visual": 2, "audio": 0.5, "transcript": 1}, limit=50)
    stored = open_library(str(made_store)).titles([hit["media_id"] for hit in hits] + ["gone.mp4"])
    query = query_from_vector(stored["gone.mp4"].vector, DESCRIPTOR)
    expected = {
        name: float(score(query, weights, title.vector))
        for name, title in stored.items()
        if name != "gone.mp4"
    }
    assert [hit["media_id"] for hit in hits] == sorted(expected, key=lambda name: -expected[name])
    assert len(hits) == MADE - 1
    for hit in hits:
        assert hit["score"] == pytest.approx(expected[hit["media_id"]], abs=1e-6)
        assert sum(share["value"] for share in hit["shares"]) == pytest.approx(hit["score"])
        assert hit["segment"]["start_s"] in (0.0, 8.0)


def test_the_badge_tells_what_is_inferred_and_what_is_usual(client: TestClient) -> None:
    by_name = {hit["media_id"]: hit for hit in search(client, "gone.mp4")}
    sound = by_name["films/000007.wav"]
    assert [share["inferred"] for share in sound["shares"]] == [True, False, True]
    assert all(share["inferred"] is False for share in by_name["secret"]["shares"])
    # of twelve others that have pictures it can be said what is usual, of one other that has none it cannot
    pictures = {name: hit["shares"][0]["usual"] for name, hit in by_name.items()}
    assert pictures["secret"] is not None
    assert pictures["films/000007.wav"] is None
    assert all(hit["sentence"] for hit in by_name.values())


def test_sliders_change_the_order(client: TestClient) -> None:
    seen = search(client, "gone.mp4", weights={"visual": 1, "audio": 0, "transcript": 0})
    heard = search(client, "gone.mp4", weights={"visual": 0, "audio": 1, "transcript": 0})
    assert [hit["media_id"] for hit in seen] != [hit["media_id"] for hit in heard]
    assert all(hit["shares"][1]["value"] == 0 for hit in seen)


def test_a_search_reads_no_title_whole(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    before = search(client, "gone.mp4")  # what is usual is sampled once
    monkeypatch.delattr(StoredLibrary, "titles")
    assert search(client, "gone.mp4") == before


def test_less_like_this_lowers_what_is_like_it(client: TestClient) -> None:
    before = {hit["media_id"]: hit for hit in search(client, "gone.mp4", limit=50)}
    worst = min(before.values(), key=lambda hit: hit["score"])["media_id"]
    after = search(client, "gone.mp4", minus=("films/000001.mkv",), limit=50)
    assert "films/000001.mkv" not in {hit["media_id"] for hit in after}
    assert worst in before
    # taste = (1 q - 0.5 q') / 1.5, so each score is known from two searches
    other = {hit["media_id"]: hit["score"] for hit in search(client, "films/000001.mkv", limit=50)}
    for hit in after:
        name = hit["media_id"]
        assert hit["score"] == pytest.approx((before[name]["score"] - 0.5 * other[name]) / 1.5, abs=1e-6)


def test_less_like_something_alone_puts_it_last(client: TestClient) -> None:
    liked = search(client, "gone.mp4", limit=50)
    disliked = search(client, minus=("gone.mp4",), limit=50)
    assert [hit["media_id"] for hit in disliked] == [hit["media_id"] for hit in reversed(liked)]


def test_filters_and_limits(client: TestClient) -> None:
    assert {hit["media_id"] for hit in search(client, "secret", tags=["away"])} == {"gone.mp4"}
    assert len(search(client, "secret", limit=3)) == 3
    assert search(client, "secret", languages=["fi"]) == []


def test_moments_of_a_title(client: TestClient) -> None:
    body = {"parts": [{"source": "title", "key": key_of("gone.mp4")}]}
    answer = client.post(f"/api/titles/{key_of('secret')}/matches", json=body, headers=ORIGIN).json()
    (hit,) = (hit for hit in search(client, "gone.mp4") if hit["media_id"] == "secret")
    assert max(answer["scores"]) == pytest.approx(hit["segment"]["score"])
    assert int(np.argmax(answer["scores"])) == hit["segment"]["index"]
    assert "gone.mp4" in answer["sentence"]


def test_long_titles_are_compared_beside_the_event_loop_and_without_moments(
    made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[SuggestionFacts] = []

    def watched(*given: Any, **named: Any) -> SuggestionFacts:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        told.append(explain_suggestion(*given, **named))
        return told[-1]

    monkeypatch.setattr(service, "explain_suggestion", watched)
    body = {"parts": [{"source": "title", "key": key_of("gone.mp4")}]}
    for pairs in (4, 3):  # of two segments with two
        with make_client(made_store, tmp_path, ExplorerSettings(moment_pairs=pairs)) as client:
            answer = client.post(f"/api/titles/{key_of('secret')}/matches", json=body, headers=ORIGIN)
        assert "gone.mp4" in answer.json()["sentence"]
    near, far = told
    assert near.moment is not None
    assert all(block.moment is not None for block in near.blocks)
    assert (far.moment, [block.moment for block in far.blocks]) == (None, [None] * 3)
    assert far.score == near.score


def test_details_hold_the_arcs(client: TestClient) -> None:
    title = client.get(f"/api/titles/{key_of('gone.mp4')}").json()
    assert title["arcs"] == [
        {"name": "pacing", "low": None, "high": None, "runs": [[[4.0, 0.0], [12.0, 1.0]]]}
    ]
    assert [(s["start_s"], s["end_s"]) for s in title["segments"]] == [(0.0, 8.0), (8.0, 16.0)]


def test_browsing_by_name_and_tag(client: TestClient) -> None:
    def names(query: str) -> set[str]:
        return {title["media_id"] for title in client.get(f"/api/titles?{query}").json()["titles"]}

    assert names("name=FILMS 07") == {"films/000007.wav"}
    assert names("tag=away&tag=made") == {"gone.mp4"}
    assert len(names("limit=4")) == 4
    assert client.get("/api/titles?limit=4").json()["all"] is False
    assert client.get("/api/titles").json()["all"] is True


def test_names_are_found_however_their_accents_are_written(tmp_path: Path) -> None:
    together, apart = "\u00e9t\u00e9.mp4", "\u00e9t\u00e9 2.mp4"
    apart = unicodedata.normalize("NFD", apart)
    write_store(tmp_path / "store", [made_title(name, f"/films/{name}") for name in (together, apart)])
    with make_client(tmp_path / "store", tmp_path / "cache") as client:
        for typed in ("\u00c9t\u00e9", unicodedata.normalize("NFD", "\u00e9t\u00e9")):
            found = client.get("/api/titles", params={"name": typed}).json()["titles"]
            assert {title["media_id"] for title in found} == {together, apart}


def test_hostile_names_come_back_as_they_are(client: TestClient) -> None:
    (title,) = client.get("/api/titles?name=onerror").json()["titles"]
    assert title["media_id"] == HOSTILE
    assert title["tags"] == ["<script>alert(1)</script>"]
    assert media_id_of(title["key"]) == HOSTILE
    assert client.get(f"/api/titles/{title['key']}").json()["media_id"] == HOSTILE
    assert client.get("/api/titles").headers["content-type"] == "application/json"


@pytest.mark.parametrize("key", ["AAAA", "*", "é", "a" * 5000, "%2e%2e%2f", "L2V0Yy9wYXNzd2Q"])
@pytest.mark.parametrize(
    "path", ["/api/titles/{}", "/media/{}/file", "/media/{}/poster", "/media/{}/clip", "/media/{}/playback"]
)
def test_no_title_no_answer(client: TestClient, key: str, path: str) -> None:
    answer = client.get(path.format(key))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"parts": []}, 400, "parts"),
        ({"parts": [{"source": "example", "key": "never-given"}]}, 410, "ExpiredExampleError"),
        ({"parts": [{"source": "title", "key": "AAAA"}]}, 400, "no longer in the library"),
        ({"parts": [{"source": "file", "key": "/etc/passwd"}]}, 400, "source"),
        ({"parts": [{"source": "title", "key": "AAAA", "weight": 1e9}]}, 400, "weight"),
        ({"parts": [{"source": "title", "key": "AAAA"}] * 33}, 400, "parts"),
        ({"weights": {"visual": 0, "audio": 0, "transcript": 0}}, 400, "all weights are 0"),
        ({"weights": {"visual": -1}}, 400, "visual"),
        ({"weights": {"smell": 1}}, 400, "smell"),
        ({"limit": 100_000}, 400, "limit"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, 400, "lies after"),
        ({"uri": "/etc/passwd"}, 400, "uri"),
    ],
)
def test_what_makes_no_sense_is_told(
    client: TestClient, change: dict[str, Any], status: int, said: str
) -> None:
    body = {"parts": [{"source": "title", "key": key_of("gone.mp4")}], **change}
    came = refused(client, body)
    assert came[0] == status
    assert said in came[1]


def test_an_example_of_no_weight_is_told(client: TestClient) -> None:
    body = {"parts": [{"source": "title", "key": key_of("gone.mp4"), "weight": 0}]}
    assert refused(client, body) == (
        400,
        "UsageError: an example of weight 0; expected one that counts: take it away instead",
    )


def test_what_is_no_json_is_told(client: TestClient) -> None:
    for data in (b"{", b"[1]", json.dumps({"parts": float("nan")}).encode()):
        answer = client.post(
            "/api/search", content=data, headers={**ORIGIN, "Content-Type": "application/json"}
        )
        assert answer.status_code == 400, data


def test_new_examples_wait_for_the_server(client: TestClient) -> None:
    status, said = refused(client, {"text": "a storm"}, "/api/examples/text")
    assert status == 503
    assert "ServerUnavailableError" in said
    answer = client.post(
        "/api/examples/file", content=b"\x89PNG", headers={**ORIGIN, "X-Example-Name": "a.png"}
    )
    assert answer.status_code == 503


def test_uploads_are_bounded(made_store: Path, tmp_path: Path) -> None:
    small = ExplorerSettings(max_upload_bytes=1000, max_text_bytes=100)
    with make_client(made_store, tmp_path, small) as client:
        answer = client.post("/api/examples/file", content=b"x" * 1001, headers=ORIGIN)
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.json()["error"]["text"]
        assert refused(client, {"text": "é" * 51}, "/api/examples/text")[0] == 413
        chunks = (b"y" * 400 for _ in range(10**6))  # no length is stated
        assert client.post("/api/examples/file", content=chunks, headers=ORIGIN).status_code == 413


def test_an_empty_upload_is_told(client: TestClient) -> None:
    answer = client.post("/api/examples/file", content=b"", headers={**ORIGIN, "X-Example-Name": "a%2Fb.png"})
    assert answer.status_code == 422
    assert answer.json()["error"]["text"].startswith("b.png: no bytes at all")


def test_an_empty_library_is_one(tmp_path: Path) -> None:
    with make_client(empty_store(tmp_path / "empty"), tmp_path / "cache") as client:
        assert client.get("/api/library").json()["titles"] == 0
        assert client.get("/api/titles").json() == {"titles": [], "all": True}


def test_a_space_that_was_never_seen_is_told(made_store: Path, tmp_path: Path) -> None:
    with make_client(made_store, tmp_path) as client:
        pass
    (remembered,) = tmp_path.glob("*.json")
    remembered.write_text("{}")
    from tests.clients.explorer import conftest

    library = conftest.open_library(str(made_store))
    encoder = conftest.EncoderServer(
        conftest.NOBODY, conftest.connector(conftest.NOBODY, conftest.Credentials()), library.space, tmp_path
    )
    settings = ExplorerSettings()
    catalogue = conftest.Catalogue(library, 1.0)
    app = conftest.make_app(
        conftest.Explorer(catalogue, encoder, settings),
        conftest.MediaShelf(catalogue, settings),
        conftest.loopback_hosts(8765),
    )
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        status, said = refused(client, {"parts": [{"source": "title", "key": key_of("gone.mp4")}]})
        assert status == 503
        assert "never seen on this machine" in said


def test_a_history_counts_among_the_examples(made_store: Path, tmp_path: Path) -> None:
    history = tmp_path / "anna.csv"
    history.write_text(
        "media_id,watched_at,completion\n"
        "films/000001.mkv,2026-11-01,1\nsecret,2026-11-02,0\nno such,2026-11-02,1\n"
    )
    viewer = Viewer.read(history)
    with make_client(made_store, tmp_path / "spaces", viewer=viewer) as client:
        assert client.get("/api/library").json()["viewer"] == "anna"
        body = {"parts": [{"source": "history"}], "limit": 50}
        hits = client.post("/api/search", json=body, headers=ORIGIN).json()["hits"]
        library = open_library(str(made_store))
        taste, _ = make_taste(library, DESCRIPTOR, read_history(history))
        stored = library.titles([hit["media_id"] for hit in hits])
        assert len(hits) == MADE - 2  # what was watched, however far, is no suggestion
        for hit in hits:
            expected = float(score(taste.query, Weights(), stored[hit["media_id"]].vector))
            assert hit["score"] == pytest.approx(expected, abs=1e-6)
        body = {"parts": [{"source": "history"}, {"source": "title", "key": key_of("gone.mp4")}], "limit": 50}
        mixed = client.post("/api/search", json=body, headers=ORIGIN).json()["hits"]
        liked = {hit["media_id"]: hit["score"] for hit in search(client, "gone.mp4", limit=50)}
        alone = {hit["media_id"]: hit["score"] for hit in hits}
        for hit in mixed:
            name = hit["media_id"]
            assert hit["score"] == pytest.approx((liked[name] + alone[name]) / 2, abs=1e-6)


def test_what_was_watched_is_no_measure_of_the_usual(made_store: Path, tmp_path: Path) -> None:
    """As `resonance taste` has it: what a taste is made of is more like it than anything else."""
    watched = "films/000001.mkv"
    history = tmp_path / "anna.csv"
    history.write_text(f"media_id,watched_at,completion\n{watched},2026-11-01,1\n")
    with make_client(made_store, tmp_path / "spaces", viewer=Viewer.read(history)) as client:
        body = {"parts": [{"source": "history"}], "limit": 50}
        hits = client.post("/api/search", json=body, headers=ORIGIN).json()["hits"]
    with_pictures = {hit["media_id"]: hit["shares"][0] for hit in hits if hit["present"]["visual"]}
    assert len(with_pictures) == len(hits) - 2
    told = {name: share for name, share in with_pictures.items() if share["usual"] is not None}
    assert told
    for name, share in told.items():
        others = [other["value"] for called, other in with_pictures.items() if called != name]
        assert share["usual"] == pytest.approx(np.mean(others), abs=1e-6)


def test_a_history_that_was_not_given_is_told(client: TestClient) -> None:
    assert client.get("/api/library").json()["viewer"] is None
    assert "--history" in refused(client, {"parts": [{"source": "history"}]})[1]


def test_examples_are_forgotten_the_longest_unused_first() -> None:
    shelf = ExampleShelf(2)
    vector = np.ones(1788, np.float32)
    first, second = (shelf.put("text", Example("text", name, vector, (True,) * 3)) for name in "ab")
    shelf.get(first.key)
    third = shelf.put("text", Example("text", "c", vector, (True,) * 3))
    assert [shelf.get(held.key).example.name for held in (first, third)] == ["a", "c"]
    with pytest.raises(ExpiredExampleError, match="last 2"):
        shelf.get(second.key)


@pytest.mark.parametrize("media_id", ["a", "a/b c.mp4", "..", "犬\n\0", "<b>", HOSTILE, "x" * 3000])
def test_keys_are_safe_in_paths_and_lead_back(media_id: str) -> None:
    key = key_of(media_id)
    assert set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert media_id_of(key) == media_id


def test_what_is_no_key_is_told() -> None:
    with pytest.raises(UnknownTitleError):
        media_id_of("_w")  # 0xff, which is no UTF-8
