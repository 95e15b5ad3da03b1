"""Whoever exports into a repository is alone there, from the first graph to what is derived of the last."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.export.families.tiny import TINY
from resonance.export.onnx_export import ExportError
from resonance.export.staging import only_export, staged

ADVICE = "wait for its end, or name another --model-repository"


def is_refused(repository: Path) -> bool:
    """Another export."""
    told = ""
    try:
        with only_export(repository):
            pass
    except ExportError as error:
        told = str(error)
    assert told in ("", f"{repository}: another export into it is under way; {ADVICE}")
    return bool(told)


def test_another_export_waits_for_the_end(tmp_path: Path) -> None:
    with only_export(tmp_path), staged(tmp_path) as made:
        assert made.is_dir()
        assert is_refused(tmp_path)
        assert not is_refused(tmp_path / "another")
    assert not is_refused(tmp_path)


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
    where = ["--model-repository", str(tmp_path), "--reference-media", str(tmp_path / "media")]
    done = CliRunner().invoke(make_app(), ["export", "tiny", *options, *where])
    assert done.exit_code == 0, done.output
    assert asked == [True]
    assert not is_refused(tmp_path)
