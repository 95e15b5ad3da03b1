"""`resonance reel` against a real server and a store that `resonance ingest` filled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from resonance.clients import long_work
from resonance.clients.cli.reel import reel
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.taste import Counted, Taste, save_taste
from resonance.loadtest.reel.films import play
from resonance.serving.server import TritonServer
from resonance.space import Descriptor
from resonance.space.scores import own_sigmas
from tests.clients.ingest.running import ingest

FILMS = ("plants_flower_opening.mp4", "animals_bug_on_flower_bw.mp4", "animation_bbb_opening_30s.webm")
SMALL = ("--size", "320x180", "--fps", "25", "--seconds", "10", "--clip-seconds", "3")
runner = CliRunner()
app = typer.Typer()
app.command()(reel)


@pytest.fixture(scope="module")
def store(media: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("films")
    manifest = folder / "films.jsonl"
    rows = [
        {"id": name.rpartition(".")[0], "uri": str(media / "video" / name), "tags": ["film"]}
        for name in FILMS
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, _ = ingest(manifest, folder / "store", server.grpc_address)
    assert code == 0
    return str(folder / "store")


def test_a_reel_of_words_is_written_with_its_list(store: str, server: TritonServer, tmp_path: Path) -> None:
    path = tmp_path / "reel.mp4"
    result = runner.invoke(
        app,
        [store, "--text", "a calm sea", "-o", str(path), *SMALL, "--json", "--server", server.grpc_address],
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told == json.loads((tmp_path / "reel.json").read_text())
    assert 5 < told["duration_s"] <= 10
    assert {c["media_id"] for c in told["clips"]} <= {name.rpartition(".")[0] for name in FILMS}
    assert all(
        sum(s["value"] for s in c["shares"].values()) == pytest.approx(c["score"]) for c in told["clips"]
    )
    assert len(play(path).pictures) == round(told["duration_s"] * 25)


def test_like_and_taste_need_no_server(
    store: str, model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_work, "LINE_EVERY_S", 0.0)
    space = model_repository / "space_descriptor" / "1" / "space.json"
    descriptor = Descriptor.load(space)
    arguments = [store, *SMALL, "--diversity", "0", "--space", str(space)]
    like = runner.invoke(
        app, [*arguments, "--like", "plants_flower_opening", "-o", str(tmp_path / "like.mp4")]
    )
    assert like.exit_code == 0, like.output
    assert " of 10 s, " in like.stderr.splitlines()[0]
    table = like.stdout.splitlines()
    assert table[1].split()[1] == "plants_flower_opening"  # it is most like itself
    library = open_library(store)
    query = Searcher(library, descriptor).like("plants_flower_opening")
    taste = Taste(
        library.space, query, own_sigmas(descriptor), 150.0, (Counted("plants_flower_opening", 1.0),)
    )
    library.close()
    save_taste(taste, tmp_path / "taste.json")
    made = runner.invoke(
        app, [*arguments, "--taste", str(tmp_path / "taste.json"), "-o", str(tmp_path / "liked.mp4")]
    )
    assert made.exit_code == 0, made.output
    clips = [json.loads((tmp_path / f"{n}.json").read_text())["clips"] for n in ("like", "liked")]
    names = [[clip["media_id"] for clip in found] for found in clips]
    assert "plants_flower_opening" not in names[1]  # it was watched
    assert names[1][0] == next(name for name in names[0] if name != "plants_flower_opening")


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (("--taste", "x.json"), "x.mp4"),
        (("--like", "t0", "--space", "x.json"), "x.mp4"),
        (("--text", "a calm sea"), "x.mp4"),  # whatever else lies there
        (("--video", "y.mp4"), "y.mp4"),
    ],
)
def test_what_is_read_or_no_reel_s_is_not_written_over(
    given: tuple[str, ...], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.json", "y.mp4"):
        Path(name).write_text("{}")
    result = runner.invoke(app, ["no such store", *given, "-o", output])
    assert result.exit_code == 2  # before the store is opened
    assert "take" in result.output
    assert "place" in result.output
    assert [Path(name).read_text() for name in ("x.json", "y.mp4")] == ["{}"] * 2


def test_a_reel_shorter_than_a_clip_is_one_clip(store: str, model_repository: Path, tmp_path: Path) -> None:
    space = str(model_repository / "space_descriptor" / "1" / "space.json")
    arguments = ("--like", "plants_flower_opening", "--space", space, "-o", str(tmp_path / "short.mp4"))
    made = runner.invoke(app, [store, *arguments, "--size", "320x180", "--fps", "25", "--seconds", "1.5"])
    assert made.exit_code == 0, made.output
    told = json.loads((tmp_path / "short.json").read_text())
    assert (len(told["clips"]), told["duration_s"]) == (1, pytest.approx(1.5, abs=0.04))


def test_wrong_use_is_exit_2_and_nothing_found_exit_1(
    store: str, model_repository: Path, tmp_path: Path
) -> None:
    space = str(model_repository / "space_descriptor" / "1" / "space.json")
    path = str(tmp_path / "reel.mp4")
    like = ["--like", "plants_flower_opening", "--space", space]
    for arguments in (
        [],
        ["--like", "plants_flower_opening", "--taste", "taste.json"],
        [*like, "-o", str(tmp_path / "reel.avi")],
        [*like, "-o", path, "--fps", "29"],
        [*like, "-o", path, "--seconds", "2", "--clip-seconds", "3"],
        ["--like", "nobody", "--space", space, "-o", path],
        ["--text", "a calm sea", "--space", space, "-o", path],
    ):
        assert runner.invoke(app, [store, *arguments]).exit_code == 2, arguments
    nothing = runner.invoke(app, [store, *like, "-o", path, "--tag", "no such tag"])
    assert nothing.exit_code == 1
    assert "nothing was found" in nothing.output
    assert list(tmp_path.iterdir()) == []
