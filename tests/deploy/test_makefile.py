"""What `make` is told wrongly is said before it makes anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("demo", "VIDEO=nothing.mp4"), "VIDEO=nothing.mp4: no such file"),
        (("embed",), "make embed: expected VIDEO=path"),
    ],
)
def test_a_video_that_is_not_there_or_not_given_is_said_first(arguments: tuple[str, ...], said: str) -> None:
    # an environment of its own would be made, were anything made
    command = ["make", *arguments, "VENV=/dev/null/venv", "PYTHON=false"]
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr.splitlines()[0]
