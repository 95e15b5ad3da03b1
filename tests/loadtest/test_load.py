"""The load test's own arithmetic, and a short run of it against a real gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import Memory, Sample
from resonance.loadtest.load import material, objectives, summary, work
from resonance.loadtest.load.calls import Gateway, References, WrongAnswerError
from resonance.loadtest.load.objectives import Objectives, ObjectivesError
from resonance.loadtest.load.plan import Plan
from resonance.loadtest.load.plots import plot_memory
from resonance.loadtest.load.records import Journal, Phase, Record, Result, Sent, read
from resonance.loadtest.load.report import Report
from resonance.loadtest.load.running import GeneratorError, run
from resonance.loadtest.load.servers import Growth, Look
from resonance.loadtest.load.shapes import CREW, Shape, rising, steps, users_at
from resonance.loadtest.load.summary import Baseline
from resonance.serving.server import TritonServer

SLO = Path(__file__).parents[2] / "loadtest" / "slo.toml"


def record(took_s: float, *, due_s: float = 0.0, result: Result = Result.ANSWERED, kind: str = "a") -> Record:
    return Record(Phase.LOADED, "upload", kind, due_s, took_s, result)


@pytest.mark.parametrize("most", [1, CREW - 1, CREW, CREW + 1, 8 * CREW, 1000])
def test_a_ramp_rises_in_whole_crews_to_what_was_asked(most: int) -> None:
    counts = rising(most)
    assert counts[-1] == most
    assert counts == sorted(set(counts))
    assert all(count % CREW == 0 for count in counts[:-1])


def test_a_spike_comes_and_goes_and_a_run_ends() -> None:
    plan = steps(Shape.SPIKE, 104, 90)
    assert [users_at(plan, at_s) for at_s in (0, 29.9, 30, 59.9, 60, 89.9, 90)] == [
        13,
        13,
        104,
        104,
        13,
        13,
        None,
    ]


def test_the_knee_is_the_fewest_users_with_nine_tenths_of_the_best() -> None:
    assert summary.knee([1, 2, 3, 4], [10, 19, 20, 20.5]) == 2
    assert summary.knee([1, 2, 3, 4], [10, 20, 30, 40]) is None, "it still rises"
    assert summary.knee([1, 2, 3], [0, 0, 0]) is None


def test_latency_is_over_that_of_the_same_kind_without_load() -> None:
    """A mix with more of the slow kind than before is no slower; each at twice its time is."""
    alone = Baseline([record(1.0), record(1.0), record(0.1, kind="b"), record(0.1, kind="b")])
    same = summary.calls([record(1.0), record(1.0), record(1.0), record(0.1, kind="b")], alone)
    assert same.latency.times[50] == pytest.approx(1.0)
    twice = summary.calls([record(2.0), record(0.2, kind="b")], alone)
    assert twice.latency.times == pytest.approx(dict.fromkeys((50, 95, 99), 2.0))
    assert twice.latency.ms[50] == pytest.approx(1100.0)


def test_refusals_and_failures_count_apart_and_not_as_latency() -> None:
    alone = Baseline([record(1.0)])
    calls = summary.calls(
        [record(1.0), record(9.0, result=Result.REFUSED), record(9.0, result=Result.FAILED)], alone
    )
    assert (calls.answered, calls.refused, calls.failed) == (1, 1, 1)
    assert calls.refused_share == pytest.approx(1 / 3)
    assert calls.latency.times[99] == pytest.approx(1.0)


def test_a_journal_is_read_as_it_was_written_but_for_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with path.open("w") as file:
        journal = Journal(file)
        journal.record(record(1.5, result=Result.FAILED))
        journal.answered_media(2.0, 8.0)
        journal.tool(rate_per_s=3.0)
        journal.late(1.0, 0.25)
    lines = [*path.read_text().splitlines(keepends=True), '["call", ["loa']
    sent = read(lines)
    assert sent.records == [record(1.5, result=Result.FAILED)]
    assert (sent.media, sent.late, sent.tool) == ([(2.0, 8.0)], [(1.0, 0.25)], {"rate_per_s": 3.0})


def test_processes_of_one_name_share_a_line_and_no_two_names_do() -> None:
    names = {pid: f"model {pid // 2}" for pid in range(24)}
    memory = Memory(0, 0)
    usage = Sample(0.0, memory, memory, 0, memory, 0.0, 0.0, 0.0, 0.0, 0.0)
    looks = [(at_s, Look(usage, dict.fromkeys(names, 40 << 20))) for at_s in (0.0, 1.0)]
    axis = Figure().subplots()
    plot_memory(axis, looks, names)
    assert axis.get_legend_handles_labels()[1] == [f"model {name} (2)" for name in range(12)]
    assert len(axis.lines) == 24
    assert len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 12


def test_a_tool_that_is_late_or_busy_says_that_it_limits() -> None:
    (step,) = steps(Shape.CONSTANT, 1, 8.0)
    sent = Sent(tool={"rate_per_s": 100.0}, late=[(4.0, 0.001)] * 200, cpu=[(3.0, 1.0), (7.0, 1.4)])
    figures = summary.step_figures(sent, [step], Baseline([]))
    calm = summary.tool(sent, figures)
    assert calm.limits == []
    assert (calm.cpu_share, calm.late_p99_ms) == (pytest.approx(0.1), pytest.approx(1.0))
    sent.cpu[1] = (7.0, 4.9)
    sent.late += [(4.0, 0.2)] * 10
    sent.late += [(0.1, 9.0)] * 10  # before the step had settled
    busy = summary.tool(sent, [replace(figures[0], calls_per_s=60.0)])
    assert len(busy.limits) == 3
    assert busy.late_max_ms == pytest.approx(200.0)


def test_objectives_name_calls_that_are_made() -> None:
    assert set(get_args(objectives.Group)) == set(work.GROUPS)
    assert objectives.read(SLO).soak.rss_growth_most == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("was", "becomes", "names"),
    [
        ("[soak]\nfailed_share_most = 0.0", "[soak]\nfailed_share_most = 1.5", "soak.failed_share_most"),
        ("[soak.calls]\nupload", "[soak.calls]\nuplaod", "soak.calls.uplaod"),
        ("p99_drift_most = 1.2", "p99_drift = 1.2", "soak.p99_drift"),
        ("[ramp]", "[ramp", "no TOML"),
    ],
)
def test_an_objective_that_would_never_be_judged_is_refused_by_name(
    tmp_path: Path, was: str, becomes: str, names: str
) -> None:
    text = SLO.read_text()
    assert was in text
    path = tmp_path / "slo.toml"
    path.write_text(text.replace(was, becomes, 1))
    with pytest.raises(ObjectivesError, match=names):
        objectives.read(path)


@pytest.fixture(scope="module")
def stack(server: TritonServer, model_repository: Path) -> Iterator[Stack]:
    with Stack(model_repository, triton=server) as running:
        yield running


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> material.Material:
    """All of it, but of the videos two: encoding seven takes longer than all else here."""
    small = (("preset", "ultrafast"),)
    videos = (
        ("libx264", "mkv", 16, 320, 240, small),
        ("libx264", "mp4", 16, 192, 144, small),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "_VIDEOS", videos)
        return material.make(tmp_path_factory.mktemp("load") / "material")


@pytest.fixture(scope="module")
def soak(stack: Stack, sent: material.Material) -> Report:
    """A few seconds of a soak."""
    plan = Plan(
        address=stack.address,
        shape=Shape.SOAK,
        users=CREW,
        seconds=5.0,
        unloaded_s=0.0,
        feed_s=8.0,
        material=str(sent.folder),
        journal=str(sent.folder / "soak.jsonl"),
        html=str(sent.folder / "soak.html"),
        unloaded_feeds=0,
    )
    done = run(plan, Console(quiet=True), (stack.gateway_pid, stack.triton_pid))
    return Report.of(done, sent, objectives.read(SLO).soak)


def test_slow_readers_are_answered_and_bad_files_refused_with_their_error(
    stack: Stack, sent: material.Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As users do it, without locust; each answer that is not the one that must come has failed."""
    monkeypatch.setattr(work, "SLOW_PAUSE_S", 0.02)
    heard: list[Record] = []
    doing = work.Work(sent, Journal(StringIO()), 8.0, lambda slow: Gateway(stack.address, small_window=slow))
    doing.told = heard.append
    with closing(doing.connect(True)) as gateway:
        assert doing.read_slowly(gateway, time.monotonic()).result is Result.ANSWERED
        for bad in doing.bad:
            ended = doing.upload(gateway, bad, time.monotonic())
            assert (ended.result, ended.code) == (Result.ANSWERED, "INVALID_ARGUMENT"), bad.messages[0]
        wrong = doing.upload(gateway, replace(doing.uploads[0], refused=True), time.monotonic())
        assert (wrong.result, wrong.code) == (Result.FAILED, "WrongAnswerError")
        wrong = doing.upload(gateway, replace(doing.bad[0], refused=False), time.monotonic())
        assert (wrong.result, wrong.code) == (Result.FAILED, "INVALID_ARGUMENT")
        short = doing.upload(gateway, replace(doing.uploads[0], segments=9), time.monotonic())
        assert short.note == "2 segments came, expected 9"
    assert {each.group for each in heard} == {"slow_reader", "bad_file", "upload"}


def test_another_vector_than_the_first_is_a_wrong_answer() -> None:
    references, first = References(), [1.0] + [0.0] * 1787
    references.check("a", first)
    references.check("a", [2.0 * value for value in first])
    references.check("b", [0.0, *first[:-1]])
    with pytest.raises(WrongAnswerError, match="cosine"):
        references.check("a", [1.0, 0.05, *first[2:]])
    with pytest.raises(WrongAnswerError, match="1787 numbers"):
        references.check("a", first[:-1])


def test_every_call_is_made_and_answered(soak: Report) -> None:
    assert soak.failures == {}
    unloaded = {each.group for each in soak.run.sent.of(Phase.UNLOADED)}
    loaded = {each.group for each in soak.run.sent.of(Phase.LOADED)}
    assert unloaded >= {"upload", "query", "fuse", "status", "space", "health", "bad_file"}
    assert loaded >= {"upload", "query", "live", "fuse", "status", "space", "health"}
    kinds = {each.kind for each in soak.run.sent.of(Phase.UNLOADED)}
    titles = material.made(Path(soak.run.plan.material)).titles
    assert kinds >= {title.name for title in titles}
    assert any(kind.endswith("resumed") for kind in kinds)


def test_a_run_leaves_figures_pictures_and_locusts_report(soak: Report, tmp_path: Path) -> None:
    soak.write(tmp_path)
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert {each["name"] for each in figures["memory"]} >= {"gateway", "tritonserver", "visual_encoder"}
    assert figures["steps"][0]["cpu"]["triton"] > 0
    assert figures["steps"][0]["media_s_per_s"] > 0
    assert (tmp_path / "soak-time.png").stat().st_size > 10_000
    assert "upload" in Path(soak.run.plan.html).read_text()


def test_each_objective_that_is_missed_says_so(soak: Report) -> None:
    """The same run against bars that nothing can hold."""
    bars = objectives.read(SLO).soak
    verdicts = {each.objective: each for each in objectives.judge(bars, soak.judged)}
    assert verdicts["failed, share of all calls"].held
    judged = replace(
        soak.judged,
        everything=replace(soak.judged.everything, failed=1),
        all_calls=replace(soak.judged.all_calls, refused=1000),
        growth=[Growth("gateway", 1, 100.0, 103.0)],
        drift={99: 1.3},
        calls={},
        tool=replace(soak.judged.tool, limits=["it slept"]),
    )
    assert [each.objective for each in objectives.judge(bars, judged) if each.held] == []
    elsewhere = objectives.judge(bars, replace(soak.judged, growth=None))
    assert [each.held for each in elsewhere if each.objective == "memory"] == [None]


def test_a_gateway_that_is_not_there_is_named(soak: Report, tmp_path: Path) -> None:
    plan = replace(
        soak.run.plan,
        ready_s=0.5,
        address="127.0.0.1:9",
        journal=str(tmp_path / "j.jsonl"),
        html=str(tmp_path / "j.html"),
    )
    with pytest.raises(
        GeneratorError, match=r"127\.0\.0\.1:9 .*: TimeoutError: no gRPC server answered"
    ) as ended:
        run(plan, Console(quiet=True), None)
    assert "\n" not in str(ended.value)


def test_a_token_that_is_not_there_is_named(tmp_path: Path) -> None:
    journal, html, token = (str(tmp_path / name) for name in ("j.jsonl", "j.html", "token"))
    plan = Plan("127.0.0.1:9", Shape.CONSTANT, 13, 1, 0, 8, str(tmp_path), journal, html, token_file=token)
    with pytest.raises(GeneratorError, match="FileNotFoundError") as ended:
        run(plan, Console(quiet=True), None)
    assert token in str(ended.value)
    assert "\n" not in str(ended.value)


def test_all_shapes_have_objectives() -> None:
    assert set(Objectives.model_fields) == {shape.value for shape in Shape}
