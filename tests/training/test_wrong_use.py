"""What the commands of training and export cannot use is told in one line, before the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.clients.errors import UsageError
from resonance.export.families import tiny
from resonance.training import loop
from resonance.training.figures import fallen, read_figures
from resonance.training.tuning import ENVIRONMENT


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files and a folder `afolder`; nothing is rendered, trained or exported."""

    def never(*args: object, **named: object) -> None:
        raise AssertionError("the work began")

    for name in ("tiny.train_tiny", "world.pool.load_or_render", "features.cache_features"):
        monkeypatch.setattr(f"resonance.training.{name}", never)
    monkeypatch.setattr("resonance.export.build.export_family", never)
    for name, value in ENVIRONMENT.items():  # the process has them already: no restart within a test
        monkeypatch.setenv(name, value)
    (tmp_path / "afile").write_text("no folder")
    (tmp_path / "afolder").mkdir()
    (tmp_path / "in.safetensors").touch()
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "words.json").write_text('{"figures": {"a": "b"}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(arguments: Sequence[str], code: int) -> str:
    result = CliRunner().invoke(make_app(), arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code
    (line,) = result.output.strip().splitlines()
    return line


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("export tiny --model-repository afile/x", "--model-repository afile/x: no folder can be made there"),
        ("export --configs-only --model-repository afile/x", "--model-repository afile/x: no folder"),
        ("export --configs-only --model-repository afile", "--model-repository afile: no folder can be made"),
        ("align afolder --heads afile/h.safetensors", "--heads afile: no folder can be made there"),
        ("align afolder --heads afolder", "--heads afolder is a folder; expected a file"),
        ("align afolder --heads afile", "--heads afile: ending ''; expected .safetensors"),
        ("align in.safetensors --heads afolder/../in.safetensors", "it would take the place of what is read"),
        ("align afolder --fairness in.safetensors --heads in.safetensors", "it would take the place of"),
        ("align afolder --checkpoint a=. --heads in.safetensors", "it would take the place of what is read"),
        ("align afolder --work afile/z", "--work afile/z: no folder can be made there"),
        ("train-tiny --recipe smoke --weights afile/x", "--weights afile: no folder can be made there"),
        ("train-tiny --recipe smoke --weights afolder", "--weights afolder is a folder"),
        ("train-tiny --recipe smoke --work afile", "--work afile/smoke: no folder can be made there"),
        ("evaluate-tiny --against nope.json", "nope.json: it cannot be read (No such file or directory)"),
        ("evaluate-tiny --against afile", "afile: it is no JSON"),
        ("evaluate-tiny --against list.json", "list.json: it has no 'figures' by name"),
        ("evaluate-tiny --against words.json", "words.json: it has no 'figures' by name"),
        ("evaluate-tiny --weights afile", "afile: cannot be read as safetensors"),
        ("evaluate-tiny --work afile", "--work afile/cpu: no folder can be made there"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(arguments: str, said: str) -> None:
    assert said in told(arguments.split(), 2)


def test_configs_that_cannot_be_written_are_one_line(work: Path) -> None:
    (work / "title_fusion").write_text("a file where a model's folder is to be")
    assert "title_fusion" in told(["export", "--configs-only", "--model-repository", str(work)], 1)


def test_axes_that_make_no_sense_leave_no_folder_behind(work: Path) -> None:
    (work / "bad.toml").write_text("[[axes]]\nname = 'calm'\n")
    said = told(["export", "tiny", "--axes", "bad.toml", "--model-repository", "new"], 1)
    assert "axis 'calm': low is missing" in said
    assert not (work / "new").exists()


@pytest.mark.parametrize("command", ["align", "export"])
def test_exit_codes_are_in_the_help(command: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), [command, "--help"])
    assert "Exit code 0: " in result.output


def test_weights_may_go_into_a_folder_that_is_not_there_yet(work: Path) -> None:
    arguments = ["train-tiny", "--recipe", "smoke", "--weights", "new/x.safetensors"]
    result = CliRunner().invoke(make_app(), arguments)
    assert str(result.exception) == "the work began"
    assert (work / "new").is_dir()


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("error", [loop.ResumeError, loop.DivergedError])
def test_a_run_that_cannot_go_on_says_why(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **named: object) -> None:
        raise error("checkpoint.pt: it is of another run [batch 32, now 64]")

    monkeypatch.setattr("resonance.training.tiny.train_tiny", fails)
    result = CliRunner().invoke(make_app(), ["train-tiny", "--recipe", "smoke"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "checkpoint.pt: it is of another run [batch 32, now 64]"


def test_figures_that_fell_are_not_a_number_or_are_missing(tmp_path: Path) -> None:
    before = {"steady": 0.5, "fell": 0.5, "not a number": 0.5, "missing": 0.5, "rose": 0.5}
    now = {"steady": 0.481, "fell": 0.479, "not a number": float("nan"), "rose": 0.6, "new": 0.1}
    assert fallen(now, before) == [
        "fell: 0.479 against 0.500",
        "not a number: nan against 0.500",
        "missing: None against 0.500",
    ]
    (tmp_path / "a.json").write_text(json.dumps({"figures": before, "entropy_bits": {}}))
    assert read_figures(tmp_path / "a.json") == before
    (tmp_path / "a.json").write_bytes(b"[" * 100_000)
    with pytest.raises(UsageError, match="it is no JSON"):
        read_figures(tmp_path / "a.json")


def test_the_committed_figures_are_read() -> None:
    assert len(read_figures(tiny.WEIGHTS.with_name("tiny.figures.json"))) > 10


def test_training_starts_without_an_entry_point() -> None:
    """From a bare checkout, where no `resonance` command is installed."""
    ran = subprocess.run(
        [sys.executable, "-m", "resonance.training", "train-tiny", "--recipe", "none"],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 2
    assert "known are cpu, gpu, gpu-short, smoke" in ran.stderr
