"""Whoever exports into a repository is alone there, from the first graph to what is derived of the last."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.export.cards import GraphCard, GraphReport
from resonance.export.families.tiny import TINY
from resonance.export.staging import ExportUnderWayError, hidden_folder, only_export
from tests.small_disk import disk_of

ADVICE = "wait for its end, or name another --model-repository"


def is_refused(repository: Path) -> bool:
    """Another export."""
    told = ""
    try:
        with only_export(repository):
            pass
    except ExportUnderWayError as error:
        told = str(error)
    assert told in ("", f"{repository}: another export into it is under way; {ADVICE}")
    return bool(told)


def export_tiny(repository: Path, *options: str) -> tuple[int, str]:
    """Exit code of the command, and what it says."""
    where = ["--model-repository", str(repository)]
    done = CliRunner().invoke(make_app(), ["export", "tiny", *options, *where])
    return done.exit_code, done.output.strip()


def test_another_export_waits_for_the_end(tmp_path: Path) -> None:
    with only_export(tmp_path):
        assert is_refused(tmp_path)
        assert not is_refused(tmp_path / "another")
    assert not is_refused(tmp_path)


@pytest.mark.parametrize("options", [[], ["--configs-only"]])
def test_an_export_that_is_refused_writes_nothing(options: list[str], tmp_path: Path) -> None:
    with only_export(tmp_path):
        before = list(tmp_path.rglob("*"))
        code, told = export_tiny(tmp_path, *options)
        assert (code, told) == (1, f"{tmp_path}: another export into it is under way; {ADVICE}")
    assert list(tmp_path.rglob("*")) == before


def test_what_killed_exports_left_is_gone(tmp_path: Path) -> None:
    left = tmp_path / "encoder" / "1" / ".export-killed"
    left.mkdir(parents=True)
    (left / "model.onnx.data").write_bytes(b"of another export")
    with only_export(tmp_path):
        assert not left.exists()
        with hidden_folder(left.parent) as made, hidden_folder(left.parent) as another:
            assert made != another  # also where a lock holds on one machine alone
    assert not list(left.parent.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "{}: No space left on device; expected"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied; expected"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(
    error: OSError, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("resonance.export.build.export_family", fails)
    code, told = export_tiny(tmp_path)
    assert code == 1
    (line,) = told.splitlines()
    assert line.startswith(said.format(tmp_path))


def test_a_tokenizer_that_finds_no_room_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library's own writing raises an error of no kind."""

    def exported(graph: GraphCard, path: Path) -> GraphReport:
        return GraphReport(graph.model, 1, 1, 0.0, "0" * 64)

    monkeypatch.setattr("resonance.export.build.export_graph", exported)
    monkeypatch.setattr("resonance.export.repository.write_configs", lambda repository: None)
    with disk_of(1000):
        code, told = export_tiny(tmp_path)
    assert code == 1
    (line,) = told.splitlines()
    assert "File too large; expected rights to write into" in line


@pytest.mark.parametrize("stood", [True, False], ids=["only-packages", "exported"])
@pytest.mark.parametrize(
    ("options", "stage"),
    [
        (["--int8"], "quantise.quantise_family"),
        (["--target", "aoti"], "aoti_cli.package_family"),
        (["--target", "tensorrt-onnx"], "trt.cli.make_networks"),
    ],
)
def test_what_is_derived_of_an_export_is_made_alone(
    options: list[str], stage: str, stood: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes in which another family's export would get this one's 8 bits under its own space.json."""
    descriptor = TINY.describe({graph.model: "0" * 64 for graph in TINY.graphs})
    asked = []

    def look(*args: object, **named: object) -> list[object]:
        asked.append(is_refused(tmp_path))
        return []

    spaces = iter([descriptor] if stood else [None, descriptor])
    monkeypatch.setattr("resonance.export.aoti_cli.check_compiler", lambda device: None)
    monkeypatch.setattr("resonance.export.aoti_cli.served_space", lambda *args: next(spaces))
    monkeypatch.setattr("resonance.export.build.export_family", lambda *_, **__: (descriptor, []))
    monkeypatch.setattr(f"resonance.export.{stage}", look)
    (tmp_path / "media").mkdir()
    code, told = export_tiny(tmp_path, *options, "--reference-media", str(tmp_path / "media"))
    assert code == 0, told
    assert asked == [True]
    assert not is_refused(tmp_path)
