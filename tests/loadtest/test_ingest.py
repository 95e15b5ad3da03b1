"""The kill run, the cost of a job and the capacity model, in their short forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance.loadtest.ingest.__main__ import app, film_of
from resonance.loadtest.ingest.capacity import Costs, needed, throughput_bound
from resonance.loadtest.ingest.kills import run_with_kills
from resonance.loadtest.ingest.library import make_title
from tests.lengths import short_and_whole


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kills", short_and_whole(1, 3))
def test_a_job_and_its_server_killed_at_random(tmp_path: Path, kills: int) -> None:
    titles = 20 * kills
    library = tmp_path / "library"
    library.mkdir()
    for number in range(titles):
        make_title(library, number)
    (library / "bad.mp4").write_bytes(b"no film")
    report = run_with_kills(
        [str(library)], tmp_path, sink=f"{tmp_path}/{{}}", job_kills=kills, server_kills=1, seed=2
    )
    assert report.faults == 0, report
    assert (report.titles, report.quarantined) == (titles, 1)
    assert report.jobs_killed >= 1


def test_titles_are_the_same_each_time_and_all_different(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(10):
            make_title(tmp_path / folder, number)
    files = [sorted((tmp_path / folder).iterdir()) for folder in ("a", "b")]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    texts = [p.read_bytes() for p in files[0] if p.suffix in (".png", ".txt", ".wav", ".mp4")]
    assert texts == [p.read_bytes() for p in files[1] if p.suffix in (".png", ".txt", ".wav", ".mp4")]
    assert len(set(texts)) == len(texts)


def test_throughput_is_bound_by_titles_or_by_cores() -> None:
    costs = Costs(media_s=3600, alone_s=36, client_cpu_s=2, server_cpu_s=30)
    machine = {"server_cores": 2, "client_cores": 2, "same_machine": True}
    assert throughput_bound(costs, 1, **machine) == pytest.approx(1 / 36)
    assert throughput_bound(costs, 16, **machine) == pytest.approx(2 / 32)
    apart = {"server_cores": 2, "client_cores": 1, "same_machine": False}
    assert throughput_bound(costs, 16, **apart) == pytest.approx(2 / 30)


def test_servers_for_a_night() -> None:
    """10,000 h in 8 h: 0.347 titles a second of an hour each, the work of 10.4 cores."""
    costs = Costs(media_s=3600, alone_s=36, client_cpu_s=2, server_cpu_s=30)
    assert needed(costs, hours=10_000, night_h=8, cores=8) == (2, 16)


def test_a_film_of_another_length_is_another_file() -> None:
    assert film_of(5).name != film_of(20).name
    assert film_of(5).duration_s == 5 * 60


def test_memory_of_too_few_titles_is_refused_before_the_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["memory", "--titles", "50", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "--titles 50 is not above --first 100" in " ".join(result.output.replace("│", "").split())
    assert list(tmp_path.iterdir()) == []
