"""What monitoring sees of a job, without a server."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from pathlib import Path

import pytest

from resonance.clients.cli import ingest_run
from resonance.clients.cli.ingest_run import IngestRun
from resonance.clients.credentials import Credentials
from resonance.clients.ingest.embedding import Outcome, Result
from resonance.clients.ingest.metrics import IngestMetrics
from resonance.clients.ingest.settings import IngestSettings
from resonance.clients.results import SpaceRef
from tests.clients.ingest.made import SPACE
from tests.clients.ingest.offline import Offline


def exported(metrics: IngestMetrics) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    values = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in values if "_created" not in name}


def test_the_oldest_title_that_waits_is_known_by_the_name_in_the_catalogue() -> None:
    with IngestMetrics(0) as metrics:
        metrics.seen("x", time.time() - 60)
        metrics.seen("x", time.time())
        metrics.seen("y", time.time())
        assert metrics.oldest_age_s() >= 60
        metrics.gone("x")
        metrics.done(Outcome("x (/films/b.txt)", Result.FAILED))
        found = exported(metrics)
        assert found.pop("resonance_ingest_oldest_unembedded_age_seconds") < 60
        assert found == {
            'resonance_ingest_titles_total{result="failed"}': 1,
            "resonance_ingest_media_seconds_total": 0,
            "resonance_ingest_titles_under_way": 1,
        }


def test_nothing_is_said_of_what_waits_where_it_is_not_known() -> None:
    with IngestMetrics(0, knows_waiting=False) as metrics:
        metrics.done(Outcome("x", Result.EMBEDDED, 2.5))
        assert exported(metrics) == {
            'resonance_ingest_titles_total{result="embedded"}': 1,
            "resonance_ingest_media_seconds_total": 2.5,
        }


def test_after_a_job_nothing_waits_though_its_catalogue_named_a_title_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[IngestMetrics] = []

    class Kept(IngestMetrics):
        def __enter__(self) -> Kept:
            made.append(self)
            return self

    async def answers(*args: object, **named: object) -> tuple[SpaceRef, int]:
        return SPACE, 1

    monkeypatch.setattr(ingest_run, "Embedder", Offline)
    monkeypatch.setattr(ingest_run, "first_answers", answers)
    monkeypatch.setattr(ingest_run, "IngestMetrics", Kept)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "titles.csv").write_text("id,uri\nx,a.txt\nx,b.txt\n")
    settings = IngestSettings(
        sources=(str(tmp_path / "titles.csv"),),
        sink=str(tmp_path / "sink"),
        server="127.0.0.1:1",
        credentials=Credentials(),
    )
    assert asyncio.run(IngestRun(settings, json_out=True).run()) == 1  # the second is in quarantine
    assert made[0].oldest_age_s() == 0
