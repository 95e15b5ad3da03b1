"""The bench of whole titles against a real Triton: what it counts is what was embedded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resonance.loadtest.bench.matrix import BAR, Case, measure_matrix, warm_up_title
from resonance.loadtest.bench.scaling import Way, measure_concurrency, measure_lengths
from resonance.loadtest.bench.scaling_plots import plot_concurrency, plot_lengths
from resonance.loadtest.bench.sdk_process import SdkProcess
from resonance.loadtest.bench.stages import Stages, measure_stages
from resonance.loadtest.films import film, streamed
from resonance.serving.server import TritonServer

SMALL = replace(streamed("h264", 180, minutes=1), loop_s=10)
FEW_KEYFRAMES = replace(streamed("h264", 180, None, minutes=1), name="few", loop_s=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


def test_the_matrix_tells_how_each_film_was_sampled(server: TritonServer, folder: Path) -> None:
    chosen = [Case(SMALL, bar=BAR), Case(SMALL, sampling="uniform"), Case(FEW_KEYFRAMES)]
    rows = measure_matrix(server, folder, chosen=chosen, rounds=1)
    assert [set(row.sampled_by) for row in rows[:2]] == [{"keyframes"}, {"uniform"}]
    assert rows[2].sampled_by.keys() >= {"keyframes", "borrowed", "decoded"}
    for row in rows:
        assert row.segments == sum(row.sampled_by.values()) == 8
        assert 0 < row.client_share < 1
        assert row.client_peak_mb > 50
    assert rows[0].met == (rows[0].per_core >= BAR)
    assert rows[1].met is None
    assert rows[0].per_core > rows[1].per_core  # decoding everything costs more


def test_a_title_costs_more_than_its_stages_and_no_stage_is_left_out(
    server: TritonServer, model_repository: Path, folder: Path
) -> None:
    (row,) = measure_stages(server, model_repository, folder, chosen=[SMALL], rounds=1)
    assert row.cpu_ratio > 1
    assert row.segments == 8
    alone = Stages(model_repository).measure(film(SMALL, folder))
    seconds = [alone.demux_s, alone.sound_s, alone.decode_s, alone.visual_encoder_s, alone.audio_encoder_s]
    assert min(*seconds, alone.fusion_s) > 0
    assert alone.sum_s == pytest.approx(sum(seconds) + alone.fusion_s)


def test_throughput_of_titles_at_once_through_both_ways(
    server: TritonServer, model_repository: Path, folder: Path
) -> None:
    ways = (Way.SDK, Way.GATEWAY)
    rows = measure_concurrency(
        server, model_repository, folder, spec=SMALL, ways=ways, levels=(1, 8), titles=8, rounds=1
    )
    assert [(row.through, row.concurrent) for row in rows] == [
        ("sdk", 1),
        ("sdk", 8),
        ("gateway", 1),
        ("gateway", 8),
    ]
    for of_one_way in (rows[:2], rows[2:]):
        assert max(row.of_best for row in of_one_way) == 1
        assert [row.bar is None for row in of_one_way] == [True, False]
    plot_concurrency(rows, folder / "concurrency.png")
    assert (folder / "concurrency.png").stat().st_size > 10_000


def test_cost_of_an_hour_is_told_against_the_cheapest_length(server: TritonServer, folder: Path) -> None:
    rows = measure_lengths(server, folder, height=180, minutes=(1, 2), least_minutes=1, rounds=1)
    assert [(row.minutes, row.segments) for row in rows] == [(1, 8), (2, 15)]
    assert min(row.cost for row in rows) == 1
    assert all(row.met == (row.cost <= row.bar) for row in rows)
    assert all(row.start_up_s > 1 for row in rows)
    plot_lengths(rows, folder / "lengths.png")
    assert (folder / "lengths.png").stat().st_size > 10_000


def test_a_process_that_cannot_embed_says_so(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:1 ended with"):
        SdkProcess("127.0.0.1:1", warm_up_title(folder)).__enter__()
