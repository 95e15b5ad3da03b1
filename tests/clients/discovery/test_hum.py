"""`resonance contours` and `resonance hum` from end to end: real sound, a real store, a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from resonance.clients import long_work
from resonance.clients.cli.main import make_app
from resonance.clients.discovery.humming import SOUND_ALONE, _best_places
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import LEAST_CANDIDATES, Searcher
from resonance.clients.discovery.types import Filter, FoundSegment
from resonance.clients.embedder import Embedder
from resonance.clients.extras import extra_hint
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.serving.server import TritonServer
from resonance.space.scores import query_from_vector, score
from tests.clients.discovery.made import DESCRIPTOR, random_titles, write
from tests.clients.discovery.tunes import REED, stored_tune, sung_tune, tune_notes, write_wav
from tests.clients.ingest.made import SPACE

SEEDS = range(8)


def resonance(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def clip(seed: int) -> np.ndarray:
    """A reed plays the tune over a chord that is held."""
    chord = sum(sung_tune([note], note_s=8.0) for note in (-17, -13, -10))
    return (0.7 * sung_tune(tune_notes(seed), timbre=REED) + 0.3 * chord).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {f"tune-{seed}": write_wav(folder / f"{seed}.wav", clip(seed)) for seed in SEEDS}


@pytest.fixture
def store(sounds: dict[str, Path], tmp_path: Path) -> Path:
    sink = open_sink(str(tmp_path / "store"), SPACE)
    sink.write(pa.concat_tables([stored_tune(name, path) for name, path in sounds.items()]), batch="1")
    sink.close()
    return tmp_path / "store"


def write_hum(folder: Path) -> Path:
    """Another key, another tempo, and a pure tone."""
    return write_wav(folder / "hum.wav", sung_tune(tune_notes(5), note_s=0.8, key=3.4))


def test_a_hum_finds_its_clip(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_work, "LINE_EVERY_S", 0.0)
    out = tmp_path / "contours.parquet"
    code, said, progress = resonance("contours", store, "--out", out, "--workers", 1)
    assert (code, said) == (0, f"8 of 8 titles with sound, 8 segments: {out}\n")
    lines = progress.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"{done} of 8 titles" for done in range(1, 9)]
    hum = write_hum(tmp_path)
    code, said, _ = resonance("hum", store, "--sound", hum, "--contours", out, "--json")
    assert code == 0
    first, second, third = json.loads(said)["hits"][:3]
    assert (first["media_id"], first["uri"].endswith("5.wav")) == ("tune-5", True)
    assert (first["start_s"], first["end_s"]) == pytest.approx((0, 8), abs=0.5)
    assert first["tempo"] == pytest.approx(0.8, abs=0.1)
    assert first["transposed_semitones"] == pytest.approx(-3.4, abs=0.4)
    assert first["off_semitones"] < 0.5 < second["off_semitones"] <= third["off_semitones"]
    code, said, _ = resonance("hum", store, "--sound", hum, "--contours", out, "--limit", 2)
    assert code == 0
    assert "tune-5" in said
    assert "0:00–0:08" in said


def test_a_title_that_changed_is_told(store: Path, sounds: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "contours.parquet"
    assert resonance("contours", store, "--out", out, "--workers", 1)[0] == 0
    sink = open_sink(str(store), SPACE)
    sink.write(stored_tune("tune-5", sounds["tune-5"], "v2"), batch="2", replaces=["tune-5"])
    sink.close()
    hum = write_hum(tmp_path)
    code, said, warned = resonance("hum", store, "--sound", hum, "--contours", out, "--json")
    assert code == 0
    assert "tune-5" not in [hit["media_id"] for hit in json.loads(said)["hits"]]
    assert "1 titles with sound are new or changed" in warned


def test_media_that_cannot_be_read(sounds: dict[str, Path], tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "store"), SPACE)
    rows = [stored_tune("gone", tmp_path / "gone.wav"), stored_tune("tune-1", sounds["tune-1"])]
    sink.write(pa.concat_tables(rows), batch="1")
    sink.close()
    code, said, warned = resonance(
        "contours", tmp_path / "store", "--out", tmp_path / "c.parquet", "--workers", 1
    )
    assert code == 1
    assert said.startswith("1 of 2 titles with sound, 1 segments")
    assert warned.startswith("gone: NotMediaError")
    assert "tune-1" not in warned


def test_contours_go_into_no_file_of_another_ending(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, _, said = resonance("contours", store, "--out", tmp_path / "c.csv")
    assert code == 2
    assert "ending '.csv'; expected .parquet" in said
    assert not (tmp_path / "c.csv").exists()


def test_wrong_use(store: Path, tmp_path: Path) -> None:
    hum = write_hum(tmp_path)
    code, _, said = resonance("hum", store, "--sound", hum)
    assert code == 2
    assert "--contours" in said
    code, _, said = resonance(
        "hum", store, "--sound", hum, "--by", "contour", "--contours", tmp_path / "none.parquet"
    )
    assert code == 1
    assert "none.parquet" in said
    code, _, said = resonance("contours", tmp_path / "no store", "--out", tmp_path / "c.parquet")
    assert code == 1
    assert "no store" in said
    assert not (tmp_path / "c.parquet").exists()


@pytest.mark.parametrize("command", ["contours", "hum"])
def test_without_librosa(store: Path, tmp_path: Path, command: str) -> None:
    options = {
        "contours": ["--out", str(tmp_path / "c.parquet")],
        "hum": ["--sound", str(write_hum(tmp_path)), "--contours", str(tmp_path / "c.parquet")],
    }
    program = (
        "import sys; sys.modules['librosa'] = None\n"
        "from resonance.clients.cli.main import make_app\n"
        f"make_app()({[command, str(store), *options[command]]!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"resonance {command}: the package librosa is not installed; {extra_hint('melody')}"
    )


async def test_by_vector(
    server: TritonServer, embedder: Embedder, sounds: dict[str, Path], tmp_path: Path
) -> None:
    """The clip itself, a little quieter, is found by its own block; melodies in another key: docs/hum.md."""
    sink = None
    for batch, (name, path) in enumerate(sounds.items()):
        result = await embedder.embed(path)
        sink = sink or open_sink(str(tmp_path / "store"), result.space)
        row = title_row(CatalogueItem(media_id=name, uri=str(path)), "v1", result)
        sink.write(row, batch=str(batch))
    assert sink is not None
    sink.close()
    quieter = write_wav(tmp_path / "hum.wav", 0.5 * clip(5))
    arguments = ("hum", tmp_path / "store", "--sound", quieter, "--by", "vector", "--json")
    # the command runs a loop of its own
    code, said, warned = await asyncio.to_thread(resonance, *arguments, "--server", server.grpc_address)
    assert code == 0, warned
    hits = json.loads(said)["hits"]
    assert hits[0]["media_id"] == "tune-5"
    assert (hits[0]["start_s"], hits[0]["end_s"]) == (0.0, 8.0)
    assert hits[0]["off_semitones"] is None
    assert sorted(hit["media_id"] for hit in hits) == sorted(sounds)


def test_by_vector_few_segments_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_titles(6, segments=40)  # of three in a row one has no sound
    write(str(tmp_path / "store"), made)
    library = open_library(str(tmp_path / "store"))
    asked: list[int] = []
    nearest = library.nearest_segments

    def counted(vector: np.ndarray, limit: int, only: Filter) -> list[FoundSegment]:
        found = nearest(vector, limit, only)
        asked.append(len(found))
        return found

    monkeypatch.setattr(library, "nearest_segments", counted)
    query = query_from_vector(made[2].vector, DESCRIPTOR)
    places = _best_places(Searcher(library, DESCRIPTOR), query, 10)
    best = {
        title.media_id: max(float(score(query, SOUND_ALONE, s.vector)) for s in title.segments)
        for title in made
        if title.present[1]
    }
    assert {place.media_id: place.score for place in places} == pytest.approx(best)
    assert [place.media_id for place in places] == sorted(best, key=lambda name: -best[name])
    assert max(asked) <= LEAST_CANDIDATES
    assert sum(asked) <= LEAST_CANDIDATES * (len(best) + 1)  # and not all 240
