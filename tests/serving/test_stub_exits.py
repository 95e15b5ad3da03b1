"""How the processes of models end when the server stops."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from resonance.serving import binary
from resonance.serving.server import ServerSettings, TritonServer


def test_the_decoder_ends_by_itself_and_not_by_a_signal(
    model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    repository = tmp_path / "models"
    for name in ("video_decoder", "space_descriptor"):
        shutil.copytree(model_repository / name, repository / name)
    triton = binary.find_triton()
    told = tmp_path / "told"
    # In the place of Triton's stub: runs it, and notes with what it ended. Those without arguments are only
    # asked whether they run.
    stub = tmp_path / triton.stub.name
    real, notes = shlex.quote(str(triton.stub)), shlex.quote(str(told))
    stub.write_text(f'#!/bin/sh\n{real} "$@"\ncode=$?\n[ $# = 0 ] || echo "$1 $code" >> {notes}\n')
    stub.chmod(0o755)
    monkeypatch.setattr(binary, "find_triton", lambda: replace(triton, stub=stub))
    with TritonServer(ServerSettings(model_repository=repository)):
        pass
    ended = sorted(line.rsplit(" ", 1) for line in told.read_text().splitlines())
    assert [Path(model).parent.parent.name for model, _ in ended] == [
        "space_descriptor", "video_decoder", "video_decoder",
    ]  # fmt: skip
    assert {code for _, code in ended} == {"0"}, ended
