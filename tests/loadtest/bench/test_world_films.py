"""Held-out titles of the procedural world as files, read and served like any upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.loadtest.bench.world_films import measure_world_films
from resonance.serving.server import TritonServer
from tests.lengths import short_and_whole


@pytest.mark.parametrize("titles", short_and_whole(7, 12))
def test_windows_of_real_files_are_found_by_what_another_modality_says(
    server: TritonServer, tmp_path: Path, titles: int
) -> None:
    rows = {row.query: row for row in measure_world_films(server.grpc_address, tmp_path, titles=titles)}
    assert set(rows) == {"text", "audio", "image"}
    for row in rows.values():
        assert row.recall_at_1 >= 5 * row.chance
        assert row.recall_at_10 >= row.recall_at_1
        assert row.oracle_at_1 <= 1
