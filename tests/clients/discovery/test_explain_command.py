"""`resonance explain` and `resonance taste` as a person calls them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from resonance.clients.cli.explain import explain
from resonance.clients.cli.taste import taste
from resonance.clients.discovery.taste import load_taste
from resonance.space import MODALITIES, Weights, query_from_vector, rank, score
from tests.clients.discovery.explained import DESCRIPTOR, SPACE, random_blocks, stored, towards, write
from tests.space.strategies import make_descriptor

HAND = random_blocks(np.random.default_rng(2))
A = stored("a [film]", HAND, axes={"tension": 0.9}, signals={"brightness": 0.02})
B = stored("b", towards(random_blocks(np.random.default_rng(3)), HAND, 0, 0.8), axes={"tension": 0.85})
OTHERS = [
    stored(
        f"o{at}",
        random_blocks(np.random.default_rng(60 + at)),
        (True, at % 3 > 0, True),
        axes={"tension": 0.5},
    )
    for at in range(40)
]
TITLES = [A, B, *OTHERS]

app = typer.Typer()
app.command()(explain)
app.command()(taste)


@pytest.fixture
def store(tmp_path: Path) -> str:
    write(tmp_path / "store", TITLES)
    (tmp_path / "space.json").write_text(DESCRIPTOR.to_json())
    (tmp_path / "history.csv").write_text(
        "media_id,completion,watched_at,signal\n"
        "a [film],1.0,2026-11-20,\no1,0.95,2026-11-01,\no2,0.02,2026-11-21,\ngone,1.0,2026-11-22,\n"
    )
    return str(tmp_path / "store")


def run(command: str, store: str, *options: str) -> tuple[int, str, str]:
    space = str(Path(store).parent / "space.json")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, store, *options, "--space", space])
    return result.exit_code, result.stdout, result.stderr


def told(command: str, store: str, *options: str) -> dict[str, Any]:
    code, out, err = run(command, store, *options, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_an_explanation_as_json_sums_to_the_score(store: str) -> None:
    report = told("explain", store, "a [film]", "b", "--weights", "visual=2,audio=0.5")
    expected = float(score(query_from_vector(A.vector, DESCRIPTOR), Weights(2, 0.5, 1), B.vector))
    assert report["score"] == pytest.approx(expected, abs=1e-9)
    assert sum(block["share"] for block in report["blocks"]) == pytest.approx(report["score"], abs=1e-12)
    assert [block["modality"] for block in report["blocks"]] == list(MODALITIES)
    assert report["reasons"]["blocks"] == ["visual"]
    assert report["fingerprint"] == SPACE.fingerprint
    assert report["sampled"] == 40
    assert report["history"] is None
    for block in report["blocks"]:
        assert block["above_usual"] == block["share"] - block["usual"]["mean"]
    assert report["sentence"].startswith(
        "“b” is suggested mainly because its pictures resemble those of “a [film]”"
    )


def test_a_history_is_opt_in_and_sums_to_its_score(store: str) -> None:
    history = str(Path(store).parent / "history.csv")
    report = told("explain", store, "o3", "b", "--history", history, "--half-life", "30")
    parts = report["history"]["parts"]
    assert sum(part["part"] for part in parts) == pytest.approx(report["history"]["score"], abs=1e-12)
    assert {part["media_id"] for part in parts} == {"a [film]", "o1", "o2"}
    assert report["history"]["unknown"] == ["gone"]
    assert report["reasons"]["past"] == "a [film]"
    assert report["history"]["score"] != report["score"]


def test_a_title_is_no_reason_for_itself(store: str) -> None:
    history = Path(store).parent / "history.csv"
    without = told("explain", store, "o3", "b", "--history", str(history))
    assert without["history"]["b_viewings"] == 0
    history.write_text(history.read_text() + "b,1.0,2026-11-21,like\nb,0.5,2026-11-02,\n")
    report = told("explain", store, "o3", "b", "--history", str(history))
    assert report["history"]["b_viewings"] == 2
    assert report["history"]["parts"] == without["history"]["parts"]
    code, _, err = run("explain", store, "o3", "b", "--history", str(history))
    assert code == 0
    assert "b was watched itself: left out of the history" in err


def test_a_history_of_b_alone_is_wrong_use(store: str) -> None:
    history = Path(store).parent / "history.csv"
    history.write_text("media_id,completion,watched_at,signal\nb,1.0,2026-11-21,\n")
    code, _, err = run("explain", store, "o3", "b", "--history", str(history))
    assert code == 2
    assert "viewings of B itself alone, 'b'; expected others" in " ".join(err.replace("│", " ").split())


def test_an_explanation_as_tables(store: str) -> None:
    history = str(Path(store).parent / "history.csv")
    code, out, err = run("explain", store, "a [film]", "o3", "--history", history)
    assert code == 0
    assert "a [film]" in out
    assert "~" in out  # o3 has no sound
    assert "1 titles of the history are not in the library: gone" in err.replace("\n", " ")
    assert {"visual", "audio", "transcript", "score", "history"} <= set(out.split())


def test_a_taste_is_not_saved_over_its_history(store: str) -> None:
    history = Path(store).parent / "history.csv"
    before = history.read_bytes()
    for path in (history, history.with_name("space.json")):
        code, _, err = run("taste", store, "--history", str(history), "--save", str(path))
        assert code == 2
        assert "take the place of what is read" in " ".join(err.replace("│", " ").split())
    assert history.read_bytes() == before


def test_a_taste_lists_what_the_formula_ranks_first_and_leaves_out_what_was_watched(
    store: str, tmp_path: Path
) -> None:
    saved, history = tmp_path / "taste.json", str(Path(store).parent / "history.csv")
    options = ("--history", history, "--limit", "7", "--weights", "visual=3", "--save", str(saved))
    report = told("taste", store, *options)
    query = load_taste(saved, DESCRIPTOR).query
    candidates = [t for t in TITLES if t.facts.media_id not in ("a [film]", "o1", "o2")]
    order = rank(query, Weights(visual=3), np.stack([t.vector for t in candidates]))[:7]
    assert [hit["media_id"] for hit in report["hits"]] == [candidates[i].facts.media_id for i in order]
    assert report["hits"][0]["media_id"] == "b"
    assert report["hits"][0]["reason"] == "a [film]"
    assert report["unknown"] == ["gone"]
    for hit in report["hits"]:
        assert sum(hit["history"].values()) == pytest.approx(hit["score"], abs=1e-9)
        assert sum(share["value"] for share in hit["shares"].values()) == pytest.approx(
            hit["score"], abs=1e-12
        )
    code, out, err = run("taste", store, "--history", history)
    assert code == 0
    assert "3 titles of the history count, 1 of them against" in out
    assert "gone" in err


def test_what_was_watched_is_known_however_its_accents_are_written(store: str, tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é")
    apart = unicodedata.normalize("NFD", composed)
    write(tmp_path / "accents", [stored(composed, HAND), *OTHERS])
    history = tmp_path / "history.csv"
    history.write_text(f"media_id,completion,watched_at\no1,1.0,2026-11-20\n{apart},0.3,2026-11-21\n")
    report = told("taste", str(tmp_path / "accents"), "--history", str(history), "--limit", "50")
    assert report["unknown"] == []
    assert not {composed, apart, "o1"} & {hit["media_id"] for hit in report["hits"]}
    report = told(
        "taste", str(tmp_path / "accents"), "--history", str(history), "--less-like", apart, "--limit", "50"
    )
    assert {counted["media_id"] for counted in report["counted"]} == {"o1", composed}
    report = told("explain", str(tmp_path / "accents"), "o2", composed, "--history", str(history))
    assert report["history"]["b_viewings"] == 1


def test_less_like_leaves_a_title_out_and_turns_away_from_it(store: str) -> None:
    history = str(Path(store).parent / "history.csv")
    before = {
        h["media_id"]: h["score"] for h in told("taste", store, "--history", history, "--limit", "50")["hits"]
    }
    report = told(
        "taste", store, "--history", history, "--limit", "50", "--less-like", "b", "--less-like", "o9"
    )
    after = {h["media_id"]: h["score"] for h in report["hits"]}
    assert set(before) - set(after) == {"b", "o9"}
    assert {c["media_id"]: np.sign(c["share"]) for c in report["counted"]} == {
        "a [film]": 1,
        "o1": 1,
        "o2": -1,
        "b": -1,
        "o9": -1,
    }


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("explain", ("a [film]", "none"), "no title 'none'"),
        ("explain", ("b", "b"), "expected two titles"),
        ("explain", ("b", "o1", "--weights", "smell=1"), "smell"),
        ("explain", ("b", "o1", "--half-life", "3"), "--history"),
        ("explain", ("b", "o1", "--history", "none.csv"), "No such file"),
        ("taste", ("--history", "none.csv"), "No such file"),
        ("taste", ("--history", "HISTORY", "--half-life", "-1"), "half-life"),
        ("taste", ("--history", "HISTORY", "--less-like", "none"), "no title 'none'"),
        ("taste", ("--history", "EMPTY"), "such as 'gone'; expected media ids"),
        ("taste", ("--history", "WRONG"), "row 1: completion"),
    ],
)
def test_wrong_use_is_exit_code_2_and_says_what_was_expected(
    command: str, options: tuple[str, ...], said: str, store: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").write_text("media_id,completion,watched_at\ngone,1,2026-11-01\n")
    (tmp_path / "wrong.csv").write_text("media_id,completion,watched_at\nb,7,2026-11-01\n")
    files = {
        "HISTORY": str(tmp_path / "history.csv"),
        "EMPTY": str(tmp_path / "empty.csv"),
        "WRONG": str(tmp_path / "wrong.csv"),
    }
    code, _, err = run(command, store, *(files.get(option, option) for option in options))
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


def test_a_store_of_another_space_or_none_is_exit_code_1(store: str, tmp_path: Path) -> None:
    other = make_descriptor(encoders={})
    (tmp_path / "space.json").write_text(other.to_json())
    for command, options in (
        ("explain", ("b", "o1")),
        ("taste", ("--history", str(tmp_path / "history.csv"))),
    ):
        code, _, err = run(command, store, *options)
        assert code == 1
        assert other.fingerprint[:12] in err
        assert SPACE.fingerprint[:12] in err
        code, _, err = run(command, str(tmp_path / "nowhere"), *options)
        assert code == 1
        assert "nowhere" in err
