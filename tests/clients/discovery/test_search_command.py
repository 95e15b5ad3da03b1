"""`resonance search` against a real server and a store that `resonance ingest` filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.serving.server import TritonServer
from tests.clients.ingest.running import ingest

FILMS = (
    "plants_flower_opening.mp4",
    "animals_bug_on_flower_bw.mp4",
    "tabletop_toy_elf.webm",
    "animation_bbb_opening_30s.webm",
    "people_two_men_whiteboard.webm",
)
runner = CliRunner()


@pytest.fixture(scope="module")
def store(media: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("films")
    manifest = folder / "films.jsonl"
    rows = [
        {
            "id": name.rpartition(".")[0],
            "uri": str(media / "video" / name),
            "language": "en" if "people" in name else None,
            "tags": ["nature"] if "flower" in name else ["made"],
            "date": f"2026-0{at + 1}-01",
        }
        for at, name in enumerate(FILMS)
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, _ = ingest(manifest, folder / "store", server.grpc_address)
    assert code == 0
    return str(folder / "store")


def search(store: str, server: TritonServer | None, *options: str) -> tuple[int, dict[str, Any]]:
    address = ["--server", server.grpc_address] if server else []
    result = runner.invoke(make_app(), ["search", store, "--json", *address, *options])
    return result.exit_code, json.loads(result.stdout) if result.exit_code == 0 else {"error": result.output}


def names(report: dict[str, Any]) -> list[str]:
    return [hit["media_id"] for hit in report["hits"]]


def test_a_copy_in_another_codec_finds_its_clip(store: str, server: TritonServer, media: Path) -> None:
    code, report = search(store, server, "--video", str(media / "video" / "transcode_elf_hevc_aac.mp4"))
    assert code == 0
    assert names(report)[0] == "tabletop_toy_elf"
    hit = report["hits"][0]
    assert sum(share["value"] for share in hit["shares"].values()) == hit["score"]
    assert hit["shares"]["transcript"]["inferred"]
    assert hit["segment"]["start_s"] == 0.0


def test_a_still_finds_its_moment(store: str, server: TritonServer, media: Path) -> None:
    still = str(media / "image" / "frame_bbb_bird.jpg")
    code, report = search(store, server, "--image", still, "--weights", "audio=0,transcript=0", "--segments")
    assert code == 0
    assert names(report)[0] == "animation_bbb_opening_30s"
    moment = report["hits"][0]["segment"]
    assert moment["start_s"] - 8 <= 19.0 <= moment["end_s"] + 8


def test_filters_and_limits(store: str, server: TritonServer) -> None:
    text = ("--text", "a falcon in the harbour")
    nature = {"plants_flower_opening", "animals_bug_on_flower_bw"}
    assert set(names(search(store, server, *text, "--tag", "nature")[1])) == nature
    assert names(search(store, server, *text, "--language", "en")[1]) == ["people_two_men_whiteboard"]
    span = ("--since", "2026-02-01", "--until", "2026-03-31")
    assert set(names(search(store, server, *text, *span)[1])) == {
        "animals_bug_on_flower_bw",
        "tabletop_toy_elf",
    }
    assert len(names(search(store, server, *text, "--limit", "2")[1])) == 2
    assert names(search(store, server, *text, "--tag", "nobody")[1]) == []


def test_like_a_title_needs_no_server(store: str, server: TritonServer, model_repository: Path) -> None:
    space = str(model_repository / "space_descriptor" / "1" / "space.json")
    code, report = search(store, None, "--like", "tabletop_toy_elf", "--space", space)
    assert code == 0
    assert set(names(report)) == {name.rpartition(".")[0] for name in FILMS} - {"tabletop_toy_elf"}
    served = search(store, server, "--like", "tabletop_toy_elf")[1]
    assert names(served) == names(report)
    scores = [[hit["score"] for hit in one["hits"]] for one in (served, report)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


@pytest.mark.parametrize("segments", [(), ("--segments", "--limit", "50")])
def test_what_the_query_is_made_of_is_no_answer(
    store: str, model_repository: Path, tmp_path: Path, segments: tuple[str, ...]
) -> None:
    space = ("--space", str(model_repository / "space_descriptor" / "1" / "space.json"))
    history, taste = tmp_path / "watched.csv", tmp_path / "taste.json"
    viewings = ("tabletop_toy_elf,2026-11-20T20:00Z,1", "plants_flower_opening,2026-11-21T20:00Z,0.02")
    history.write_text(
        "\n".join(("media_id,watched_at,completion", *viewings, "elsewhere,2026-11-22T20:00Z,1"))
    )
    command = ["taste", store, "--history", str(history), "--save", str(taste), *space]
    result = runner.invoke(make_app(), command)
    assert result.exit_code == 0, result.output
    every = {name.rpartition(".")[0] for name in FILMS}
    found = names(search(store, None, "--taste", str(taste), *space, *segments)[1])
    assert set(found) == every - {"tabletop_toy_elf", "plants_flower_opening"}
    found = names(search(store, None, "--like", "tabletop_toy_elf", *space, *segments)[1])
    assert set(found) == every - {"tabletop_toy_elf"}


def test_examples_of_several_kinds_with_weights(store: str, server: TritonServer, media: Path) -> None:
    still = media / "image" / "frame_bbb_bird.jpg"
    mixed = ("--like", "tabletop_toy_elf", "--image")
    heavy = search(store, server, *mixed, f"{still}@50", "--weights", "audio=0,transcript=0")[1]
    light = search(store, server, *mixed, f"{still}@0.01", "--weights", "audio=0,transcript=0")[1]
    without = search(store, server, *mixed[:2], "--weights", "audio=0,transcript=0")[1]
    assert names(heavy)[0] == "animation_bbb_opening_30s"
    assert names(light) == names(without)
    assert names(light)[0] != "animation_bbb_opening_30s"


def test_the_table_for_people(store: str, server: TritonServer) -> None:
    result = runner.invoke(
        make_app(), ["search", store, "--server", server.grpc_address, "--like", "tabletop_toy_elf"]
    )
    assert result.exit_code == 0
    assert "plants_flower_opening" in result.stdout
    assert "0:00–0:07" in result.stdout
    assert "~" in result.stdout  # a share from an inferred block


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "neither an example nor a taste"),
        (("--text", "x", "--weights", "visual=-1"), "weight of visual"),
        (("--text", "x", "--since", "yesterday"), "2026-11-28"),
        (("--text", "x", "--since", "2026-02-01", "--until", "2026-01-01"), "lies after"),
        (("--like", "nobody"), "no title 'nobody'"),
        (("--text", "x", "--diversity", "2"), "diversity"),
        (("--image", "x@0"), "above 0"),
    ],
)
def test_wrong_use_is_exit_code_2(
    store: str, server: TritonServer, options: tuple[str, ...], told: str
) -> None:
    result = runner.invoke(make_app(), ["search", store, "--server", server.grpc_address, *options])
    assert result.exit_code == 2
    assert told in " ".join(result.output.replace("│", " ").split())


def test_what_cannot_be_done_is_exit_code_1(store: str, server: TritonServer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no media")
    for where, example in ((store, ("--video", str(broken))), (str(tmp_path), ("--text", "x"))):
        result = runner.invoke(make_app(), ["search", where, "--server", server.grpc_address, *example])
        assert result.exit_code == 1
        assert "expected" in result.output
