"""Each extra brings all that its commands import, and a command of another says which one it is of."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest

from resonance.clients.cli.main import EXTRAS, GROUP, SERVERS, _checked
from resonance.clients.extras import extra_hint
from resonance.serving.server import TritonServer

ROOT = Path(__file__).parents[2]


def run(extra: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.clients.with_extra_alone", extra, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "harbour.txt"
    path.write_text("boats in the harbour")
    return path


def test_the_client_alone_embeds_plots_and_asks_a_server(
    server: TritonServer, media: Path, tmp_path: Path
) -> None:
    picture, film = media / "image" / "food_cherries.jpg", media / "video" / "animation_bbb_opening_30s.webm"
    plot = tmp_path / "arcs.png"
    shown = run("client", "embed", picture, film, "--json", "--plot", plot, "--server", server.grpc_address)
    assert shown.returncode == 0, shown.stderr
    assert len(json.loads(shown.stdout.splitlines()[0])["title"]) == 1788
    assert plot.is_file() or any(tmp_path.iterdir())
    shown = run("client", "status", "--server", server.grpc_address)
    assert shown.returncode == 0, shown.stderr
    shown = run("client", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("serve", "serve"),
        ("gateway", "gateway"),
        ("export tiny", "export"),
        ("align FOLDER", "train"),
        ("ingest FOLDER --sink FOLDER/store", "ingest"),
        ("validate FOLDER", "ingest"),
        ("search FOLDER --text boats", "discovery"),
        ("explore FOLDER", "explore"),
        ("audit metadata FOLDER tags.csv", "audit"),
        ("hum FOLDER --sound hum.wav --contours c.parquet", "melody"),
    ],
)
def test_a_command_of_another_extra_names_it(words: str, extra: str, text: Path) -> None:
    shown = run("client", *words.replace("FOLDER", str(text.parent)).split())
    assert shown.returncode == 2, shown.stderr
    advice = re.escape(f"is not installed; {extra_hint(extra)}")
    assert re.fullmatch(rf"resonance [a-z ]+: the package [\w.]+ {advice}\n", shown.stderr), shown.stderr


def test_a_hint_names_no_package_of_an_index() -> None:
    """`resonance` on PyPI is another project's; a wheel or a folder is named with `@`."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = [name for name in files.splitlines() if not name.startswith(("tests/", "pyproject.toml"))]
    stranger = re.compile(r"""\bresonance\[[^]]+\](?! @)|pip install ['"]?resonance\b(?!\[)""")
    assert [name for name in told if stranger.search(read(ROOT / name))] == []
    assert "pip install '.[melody]' in its checkout" in extra_hint("melody")


def read(path: Path) -> str:
    """Text of a file; of a link to a folder, or of no text, none."""
    try:
        return path.read_text()
    except (IsADirectoryError, UnicodeDecodeError):
        return ""


def test_every_command_is_of_an_extra_that_there_is() -> None:
    extras = set(metadata("resonance").get_all("Provides-Extra") or ())
    for point in entry_points(group=GROUP):
        assert EXTRAS.get(point.name, point.name) in extras, point.name
    assert set(EXTRAS.values()) <= extras


def test_grpc_is_quiet_in_clients_and_says_all_in_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("serve", "gateway", "status", "embed"):
        with monkeypatch.context() as patched:
            patched.delenv("GRPC_VERBOSITY", raising=False)
            said = _checked(name, lambda: os.environ.get("GRPC_VERBOSITY"))()
            assert said == (None if name in SERVERS else "ERROR")
            assert "GRPC_VERBOSITY" not in os.environ


def test_ingestion_alone_ingests_and_names_the_extras_of_its_options(
    server: TritonServer, text: Path, media: Path, tmp_path: Path
) -> None:
    store, address = tmp_path / "store", server.grpc_address
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    shutil.copy(media / "audio" / "ambience_rain_60s.mp3", sounds)
    shown = run("ingest", "ingest", text.parent, "--sink", store, "--server", address)
    assert shown.returncode == 0, shown.stderr
    shown = run("ingest", "validate", store)
    assert shown.returncode == 0, shown.stderr
    for words, extra in (
        ([text.parent, "--sink", store, "--engine", "ray"], "ray"),
        ([text.parent, "--sink", "s3://bucket/store"], "s3"),
        ([sounds, "--sink", tmp_path / "other", "--asr", "model"], "asr"),
    ):
        shown = run("ingest", "ingest", "--server", address, *words)
        assert shown.returncode == 2, shown.stderr
        said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown.stderr).split())
        assert f"pip install '.[{extra}]'" in said, shown.stderr


def test_discovery_alone_searches_and_explains(server: TritonServer, text: Path, tmp_path: Path) -> None:
    store, address = tmp_path / "store", server.grpc_address
    (text.parent / "song.txt").write_text("a song")
    shown = run("discovery", "ingest", text.parent, "--sink", store, "--server", address)
    assert shown.returncode == 0, shown.stderr
    for words in (
        ["search", store, "--text", "boats", "--server", address],
        ["explain", store, "harbour.txt", "song.txt", "--server", address],
        ["arcs", store, "--shape", "comeback"],
    ):
        shown = run("discovery", *words)
        assert shown.returncode == 0, shown.stderr
