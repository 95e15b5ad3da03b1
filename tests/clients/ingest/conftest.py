"""A small library of titles that are all different, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.loadtest.ingest.library import make_title

GOOD = 10
BAD = {"empty.mp4": b"", "page.jpg": b"<html>not found</html>", "noise.webm": bytes(range(256)) * 64}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good titles (films, a sound, a picture, a text) and three that cannot be embedded."""
    folder = tmp_path_factory.mktemp("library")
    for number in range(GOOD):
        make_title(folder, number)
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    return folder
