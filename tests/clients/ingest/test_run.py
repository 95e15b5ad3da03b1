"""One call of `resonance ingest`, without a server: how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resonance.clients.cli import ingest_run
from resonance.clients.cli.ingest_run import IngestRun
from resonance.clients.credentials import Credentials
from resonance.clients.errors import UsageError
from resonance.clients.ingest.settings import IngestSettings
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.results import SpaceRef
from tests.clients.ingest.made import SPACE, made_item

LONG_S = 30.0


def test_a_job_that_is_stopped_does_not_wait_until_its_catalogue_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counts = threading.Event()

    def long_catalogue(settings: IngestSettings) -> Iterator[CatalogueItem]:
        ends_s = time.monotonic() + LONG_S
        while time.monotonic() < ends_s:
            counts.set()
            yield made_item("one")

    async def answers(*args: object, **named: object) -> tuple[SpaceRef, int]:
        return SPACE, 1

    async def work(*args: object) -> None:
        await asyncio.to_thread(counts.wait)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr(IngestSettings, "catalogue", long_catalogue)
    monkeypatch.setattr(ingest_run, "first_answers", answers)
    monkeypatch.setattr(IngestRun, "_here", work)
    settings = IngestSettings(
        sources=(str(tmp_path),),
        sink=str(tmp_path / "sink"),
        server="127.0.0.1:1",
        credentials=Credentials(),
    )
    began_s = time.monotonic()
    assert asyncio.run(IngestRun(settings, json_out=True).run()) == 128 + signal.SIGINT
    assert time.monotonic() - began_s < LONG_S / 2


@pytest.mark.parametrize("taken", ["films.csv", "journal.sqlite", "store/part-0.parquet"])
def test_titles_in_quarantine_take_no_place_of_what_the_job_reads(taken: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for name in ("films.csv", "journal.sqlite", "store/part-0.parquet"):
        (tmp_path / name).write_text("uri\nfilm.mp4\n")
    settings = IngestSettings(
        sources=(str(tmp_path / "films.csv"),),
        sink=str(tmp_path / "store"),
        server="127.0.0.1:1",
        credentials=Credentials(),
        journal=tmp_path / "journal.sqlite",
        failed=tmp_path / taken,
        patience_s=0.1,
    )
    with pytest.raises(UsageError, match="expected another path"):
        asyncio.run(IngestRun(settings, json_out=True).run())
    assert (tmp_path / taken).read_text() == "uri\nfilm.mp4\n"


@pytest.mark.parametrize(
    ("journal", "failed"), [("made.sqlite", "link/made.sqlite"), ("failed.parquet", None)]
)
def test_titles_in_quarantine_take_no_place_of_a_journal_that_is_not_there_yet(
    journal: str, failed: str | None, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    settings = IngestSettings(
        sources=(str(tmp_path),),
        sink=str(tmp_path / "store"),
        server="127.0.0.1:1",
        credentials=Credentials(),
        journal=tmp_path / journal,
        failed=None if failed is None else tmp_path / failed,
        patience_s=0.1,
    )
    with pytest.raises(UsageError, match="take the place of the journal; expected another path"):
        asyncio.run(IngestRun(settings, json_out=True).run())
