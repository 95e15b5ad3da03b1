"""What `resonance follow` writes: all that came, also where something takes no more of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from resonance.clients.cli.follow_run import FollowRun
from resonance.clients.credentials import Credentials
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.live import LiveTitleSink
from resonance.clients.ingest.stores import open_store
from resonance.clients.results import MediaEmbedding
from tests.clients.gateway.broken_gateway import BrokenGateway, Call


@pytest.fixture
def run(broken: BrokenGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FollowRun:
    """Of a pipe that ends, with two segments, two titles so far and the last one."""

    async def gives(call: Call) -> None:
        await call.complete.wait()
        for index in range(2):
            await call.segment(index)
            await call.title(index + 1, rolling=True)
        await call.title(2)

    broken.scripts = [gives]
    reading, writing = os.pipe()
    os.write(writing, b"\x47" * 1000)
    os.close(writing)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))
    return FollowRun(
        source="-",
        server=f"grpc://{broken.address}",
        credentials=Credentials(),
        name="cam-1",
        sampling=None,
        endless=False,
        rolling_every=1,
        sink=str(tmp_path / "store"),
        fingerprint=None,
        json_out=True,
    )


async def test_a_last_title_that_cannot_be_stored_is_told(
    run: FollowRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: LiveTitleSink, title: MediaEmbedding) -> None:
        raise StoreError("vectors", "no room", "some")

    monkeypatch.setattr(LiveTitleSink, "write", full)
    assert await run.follow() == 1
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert [next(iter(part)) for part in told] == ["segment", "title"] * 2 + ["title"]
    assert [part["title"]["rolling"] for part in told if "title" in part] == [True, True, False]
    assert [line.startswith("not stored: ") for line in err.splitlines()] == [True, True, False]


async def test_who_only_stores_may_close_the_output(run: FollowRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert await run.follow() == 0
    assert run.sink is not None
    assert open_store(run.sink).count() == 1
