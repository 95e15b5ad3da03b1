"""The GPU bench runs here in small form; whatever is cut off, killed or lost keeps its rows."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from resonance.loadtest.gpu_bench import (
    child,
    clocks,
    machine,
    measure,
    part,
    run,
    towers_part,
)
from resonance.loadtest.gpu_bench.child import measure_apart
from resonance.loadtest.gpu_bench.encoders import QUICK, encoder
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.report import Report, one_line, plain
from resonance.loadtest.gpu_bench.results import Journal, PartResult
from resonance.loadtest.gpu_bench.run import CLOSING_S, LAST_S, allowed, bars, main
from resonance.loadtest.gpu_bench.timing import percentile
from resonance.training import tuning
from resonance.training.tuning import ENVIRONMENT
from tests.loadtest.gpu_bench.small import bench, quick_job


def test_bars_take_the_best_variant_and_say_whether_they_are_met() -> None:
    rows = [
        {"encoder": "siglip-b16", "variant": v, "batch": 64, "of_matrix_rate": share, "cosine_fp32": cosine}
        for v, share, cosine in (
            ("eager", 0.4, 0.9999),
            ("compiled", 0.61, 0.9999),
            ("wrong", 0.7, 0.99),
            ("broken", 0.7, float("nan")),
        )
    ]
    parts = {
        "encoders": {"rows": rows},
        "latency": {"rows": [{"p50_ms": 30.0, "bar_ms": 25.0, "film": "1080p H.264", "decoder": "PyAV"}]},
    }
    found = {row["bar"]: row for row in bars(parts)}
    assert found["siglip-b16, share of the matrix rate"]["met"] is True
    assert "compiled" in found["siglip-b16, share of the matrix rate"]["how"]
    assert found["one segment, p50 ms"]["met"] is False
    assert len(found) == 2


def test_percentiles_and_plain_tables() -> None:
    assert percentile([float(i) for i in range(100)], 0.5) == 50.0
    assert percentile([1.0], 0.95) == 1.0
    assert plain(["a", "bb"], [["ccc", "d"]]) == ["a    bb", "ccc  d "]


def test_quick_runs_every_part_that_needs_no_compiler(tmp_path: Path, capsys) -> None:
    out = tmp_path / "figures.json"
    parts = ["encoders", "end_to_end", "latency", "decode", "tensorrt"]
    arguments = ["--device", "cpu", "--quick", "--out", str(out), "--films", str(tmp_path), "--parts", *parts]
    assert main(arguments) == 0
    figures = json.loads(out.read_text())
    assert figures["environment"]["device"] == "cpu"
    assert set(figures["parts"]) == {"peak", *parts}  # the matrix rate comes along: shares rest on it
    best = max(row["tflops"] for row in figures["parts"]["peak"]["rows"])
    rows = figures["parts"]["encoders"]["rows"]
    assert {row["encoder"] for row in rows} == {e.name for e in QUICK}
    for row in rows:
        assert row["tflops"] <= best * 1.05
        assert row["of_matrix_rate"] == pytest.approx(row["tflops"] / best)
        assert row["cosine_fp32"] >= 0.999
    films = [r for r in figures["parts"]["end_to_end"]["rows"] if r["film"] != "decoded beforehand"]
    samplings = {row["sampling"]: row for row in films}
    assert samplings["uniform"]["frames_decoded_per_s"] > samplings["keyframes"]["frames_decoded_per_s"]
    assert all(row["p95_ms"] >= row["p50_ms"] > 0 for row in figures["parts"]["latency"]["rows"])
    assert any("DALI" in text for text in figures["parts"]["decode"]["skipped"])
    assert any("no NVIDIA GPU" in text for text in figures["parts"]["tensorrt"]["skipped"])
    assert "skipped: everything: no NVIDIA GPU" in capsys.readouterr().out


def test_the_command_keeps_its_memory(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--apart", "--parts", "peak", "--out", str(out)]
    bare = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    command = [sys.executable, "-m", "resonance.loadtest.gpu_bench", *arguments]
    ran = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(out.read_text())
    assert "MALLOC_MMAP_MAX_=0" in figures["environment"]["memory_kept"]
    assert figures["environment"]["command"].endswith("--parts peak --out " + str(out))
    assert [row["when"] for row in figures["parts"]["peak"]["rows"]] == ["before"] * 2


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch compiles C++ and there is no compiler"
)
@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("compiled", ["compiled, activation fused", "compiled"]),
        ("aoti", ["AOTI: compile", "AOTI", "AOTI"]),
    ],
)
def test_quick_runs_the_compilers(tmp_path: Path, name: str, variants: list[str]) -> None:
    out = tmp_path / "figures.json"
    assert main(["--device", "cpu", "--quick", "--out", str(out), "--parts", name]) == 0
    rows = json.loads(out.read_text())["parts"][name]["rows"]
    assert [row["variant"] for row in rows] == variants


@pytest.mark.parametrize(("before", "after"), [(100.0, 200.0), (200.0, 100.0)])
def test_shares_are_of_the_higher_of_two_matrix_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: float, after: float
) -> None:
    def rate(found: Bench) -> None:
        later = found.matrix_tflops > 0
        found.result.row({"when": "after" if later else "before", "tflops": after if later else before})

    monkeypatch.setattr(part, "measure_peak", rate)
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--out", str(out), "--parts", "encoders"]
    assert main(arguments) == 0
    figures = json.loads(out.read_text())
    assert figures["matrix_tflops"] == {"before": before, "after": after, "of": 200.0}
    assert [row["tflops"] for row in figures["parts"]["peak"]["rows"]] == [before, after]
    for row in figures["parts"]["encoders"]["rows"]:
        assert row["of_matrix_rate"] == pytest.approx(row["tflops"] / 200)


def test_a_run_without_time_left_says_so_and_keeps_its_file(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = [
        "--device",
        "cpu",
        "--quick",
        "--out",
        str(out),
        "--parts",
        "encoders",
        "--total-seconds",
        "1",
    ]
    assert main(arguments) == 0
    parts = json.loads(out.read_text())["parts"]
    assert parts["encoders"]["skipped"] == ["everything: the run's time is used up"]


@pytest.mark.parametrize(("part_s", "left_s"), [(150.0, 1500.0), (530.0, 560.0), (150.0, 40.0), (150.0, 3.0)])
def test_a_part_is_ended_before_the_run_is(part_s: float, left_s: float) -> None:
    seconds, limit_s = allowed(part_s, left_s)
    assert limit_s + child.GRACE_S <= left_s
    assert seconds <= part_s
    assert limit_s >= seconds + LAST_S


def test_the_commands_for_half_an_hour_are_whole_and_fit_it() -> None:
    text = Path(__file__).parents[3].joinpath("docs/gpu.md").read_text(encoding="utf-8")
    block = text.partition("**Where there are 30 minutes")[2].split("```")[1]
    seconds = []
    for line in block.strip().splitlines():
        start, _, arguments = line.partition(" python3 -m resonance.loadtest.gpu_bench ")
        assert start == "PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}"
        args = run._parse(shlex.split(arguments))
        assert str(args.out).startswith("$OUT/")
        seconds.append(args.total_seconds)
    assert max(seconds) < 600 - 30
    assert sum(seconds) <= 27 * 60


def test_a_run_has_its_time_from_the_start_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything that imports torch, which takes seconds."""
    begun: dict[str, float] = {}

    def measured(*, begun_s: float) -> int:
        begun["process"] = begun_s
        return 0

    monkeypatch.setattr(tuning, "restart_tuned", lambda: begun.update(torch=time.monotonic()))
    monkeypatch.setattr(run, "main", measured)
    before = time.monotonic()
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("resonance.loadtest.gpu_bench", run_name="__main__")
    assert before <= begun["process"] <= begun["torch"]


def test_time_that_has_passed_before_a_run_is_not_there_for_its_parts(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--parts", "peak", "--total-seconds", "60", "--out", str(out)]
    assert main(arguments, begun_s=time.monotonic() - (60 - CLOSING_S - LAST_S - child.GRACE_S)) == 0
    skipped = json.loads(out.read_text())["parts"]["peak"]["skipped"]
    assert skipped == ["everything: the run's time is used up"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_cut_off_keeps_the_rows_of_its_part(tmp_path: Path, number: int) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-c", CUT_OFF, "--device", "cpu", "--quick", "--parts", "peak", "encoders"]
    ran = subprocess.run(
        [*command, "--out", str(out)],
        env=os.environ | {"CUT_OFF_BY": str(int(number))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1, ran.stderr
    assert "ERROR: cut off" in ran.stderr
    parts = json.loads(out.read_text())["parts"]
    assert len(parts["encoders"]["rows"]) == 1
    assert out.with_suffix(".png").exists()


#: The bench, sent a signal after its first row of a tower.
CUT_OFF = """
import os, sys
from resonance.loadtest.gpu_bench import measure, run

def measured(self, *arguments, inner=measure.Bench.measure):
    inner(self, *arguments)
    os.kill(os.getpid(), int(os.environ["CUT_OFF_BY"]))

measure.Bench.measure = measured
sys.exit(run.main())
"""


#: A part in a process of its own; what is in `CHILD` happens to it at the rows of a tower.
CHILD = """
import os, signal, time
from resonance.loadtest.gpu_bench import measure, part

def measured(self, encoder, variant, run, batch, reference, inner=measure.Bench.measure):
    {before}
    inner(self, encoder, variant, run, batch, reference)

measure.Bench.measure = measured
part.main()
"""


def test_a_part_that_dies_keeps_its_rows_and_the_towers_after_it_have_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    dies = "if (encoder.name, batch) == ('quick-clip', 3): os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(child, "PROGRAM", (sys.executable, "-c", CHILD.format(before=dies)))
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--apart", "--out", str(out), "--parts", "encoders"]
    assert main(arguments) == 1
    parts = json.loads(out.read_text())["parts"]
    best = max(row["tflops"] for row in parts["peak"]["rows"])
    rows = parts["encoders"]["rows"]
    measured = [(row["encoder"], row["variant"], row["batch"]) for row in rows]
    assert measured[:4] == [
        ("quick-siglip", way, batch) for batch in (1, 3) for way in ("eager", "eager, activation fused")
    ]
    assert ("quick-clip", "eager", 1) in measured
    assert {"quick-bert", "quick-htsat"} < {name for name, _, _ in measured}
    assert all(row["of_matrix_rate"] == pytest.approx(row["tflops"] / best) for row in rows)  # handed over
    (error,) = parts["encoders"]["errors"]
    assert error == (
        "the process of this part died (SIGKILL; often memory that is short) at: quick-clip, eager, batch 3"
    )
    told = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    journal = [t["row"] for t in told if t["part"] == "encoders" and "row" in t]
    # written before the rate was measured again: shares are of what was known then
    first = max(row["tflops"] for row in parts["peak"]["rows"] if row["when"] == "before")
    assert [row.pop("of_matrix_rate") for row in journal] == pytest.approx(
        [r["tflops"] / first for r in rows]
    )
    assert journal == [{k: v for k, v in row.items() if k != "of_matrix_rate"} for row in rows]
    assert "encoders: encoder quick-clip, variant eager, batch 1, ms " in capfd.readouterr().out


def test_a_part_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = "if batch == 3: time.sleep(600)"
    monkeypatch.setattr(child, "PROGRAM", (sys.executable, "-c", CHILD.format(before=hangs)))
    result = PartResult()
    measure_apart(quick_job(tmp_path, "encoders", limit_s=30.0, encoders=("quick-bert",)), result)
    assert [row["batch"] for row in result.rows] == [1, 1]  # as it is, and with its activation fused
    (error,) = result.errors
    assert error == ("the process of this part died (it was ended after 30 s) at: quick-bert, eager, batch 3")


def test_a_run_of_processes_that_is_cut_off_leaves_rows_and_no_process(tmp_path: Path) -> None:
    cut_off = "if batch == 3: os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"
    script = (
        "import sys\nfrom resonance.loadtest.gpu_bench import child, run\n"
        f"child.PROGRAM = (sys.executable, '-c', {CHILD.format(before=cut_off)!r})\nsys.exit(run.main())\n"
    )
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--apart", "--parts", "encoders", "--out", str(out)]
    ran = subprocess.run(  # returns when nobody holds its output open any more
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 1, ran.stderr
    assert "ERROR: cut off" in ran.stderr
    assert [row["batch"] for row in json.loads(out.read_text())["parts"]["encoders"]["rows"]] == [1, 1]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl", "now", "encoders")
    journal.tell("row", {"ms": 1.0})
    whole = journal.size()
    with journal.path.open("ab") as file:
        file.write(b'{"run": "now", "part": "encod')
    journal.tell("row", {"ms": float("nan")})
    Journal(journal.path, "another day", "encoders").tell("row", {"ms": 3.0})
    assert list(journal.since(0)) == [("row", {"ms": 1.0}), ("row", {"ms": None})]
    assert list(journal.since(whole)) == [("row", {"ms": None})]


def test_nothing_more_is_tried_on_a_device_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "device_lost", lambda device: True)
    found = bench(1e3)

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(measure.DeviceLostError, match="lost since quick-bert, eager, batch 1"):  # noqa: SIM117
        with found.going_on("quick-bert"):
            towers_part.measure_both(
                found, encoder("quick-bert"), ("eager", "CUDA graph"), broken, 1, torch.nn.Identity()
            )
    assert len(found.result.errors) == 1


def test_numbers_that_json_has_no_word_for_are_null(tmp_path: Path) -> None:
    report = Report(tmp_path / "figures.json", {})
    report.add("encoders", PartResult(rows=[{"cosine_fp32": float("nan"), "ms": float("inf"), "batch": 1}]))
    (row,) = json.loads(report.path.read_text())["parts"]["encoders"]["rows"]
    assert row == {"cosine_fp32": None, "ms": None, "batch": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("0", "0"), ("0", "1"), ("0", "0"), ("0", "1")], "2"),
        ([("0", "0"), ("1", "0")], "1"),  # two sockets
        ([("0", "0"), ("0", "0"), ("0", "1")], "1.5"),  # what a container was given
        ([(None, None)], "unknown"),
        ([], "unknown"),
    ],
)
def test_threads_that_share_a_core_are_counted(
    fields: list[tuple[str | None, str | None]], expected: str
) -> None:
    text = "\n\n".join(
        f"processor\t: {i}\nmodel name\t: Some CPU: fast\n"
        + ("" if socket is None else f"physical id\t: {socket}\ncore id\t\t: {core}")
        for i, (socket, core) in enumerate(fields)
    )
    cpus = machine.processors(text)
    assert [cpu["model name"] for cpu in cpus] == ["Some CPU: fast"] * len(fields)
    assert machine.threads_per_core(cpus) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", {}),
        ("\n", {}),
        (
            "580.1, 1980 MHz, 2619 MHz, 1980 MHz, 75 W, 700 W, 30\nanother GPU\n",
            {"driver_version": "580.1", "power.limit": "700 W", "temperature.gpu": "30"},
        ),
    ],
)
def test_nvidia_smi_may_answer_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: dict[str, str]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = machine.gpu_state()
    assert bool(found) == bool(expected)
    assert found.items() >= expected.items()


SMI_HEADER = (
    "timestamp, clocks.current.sm [MHz], clocks.current.memory [MHz], power.draw [W], temperature.gpu"
)


SMI_LINE = "2026/11/30 02:00:00.500, {} MHz, 2619 MHz, 650.12 W, 61, {} %"


def test_clocks_are_read_while_a_part_runs_and_those_at_rest_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    lines = [
        f"{SMI_HEADER}, utilization.gpu [%]",
        *(SMI_LINE.format(*s) for s in ((345, 0), (1980, 99), (1755, 100), (1965, 90))),
    ]
    said.write_text("\n".join([*lines, "2026/11/30 02:00:02.500, [N/A], [N/A]", ""]))
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho $$ > {tmp_path}/pid\necho "$@" > {tmp_path}/asked\ncat {said}\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result, path = PartResult(), tmp_path / "out" / "figures-clocks.csv"
    path.parent.mkdir()
    path.write_text("# before\n" + SMI_LINE.format(100, 100) + "\n")
    with clocks.sampled(path, "peak", result):
        until = time.monotonic() + 30
        while not (path.exists() and "N/A" in path.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    (found,) = result.clocks
    assert found == {
        "file": path.name, "under": "peak",
        "sm_mhz_median": 1965, "sm_mhz_lowest": 1755, "samples": 4, "under_load": 3,
    }  # fmt: skip
    asked = (tmp_path / "asked").read_text()
    assert asked.split()[:2] == ["-i", "0"]
    assert "--query-gpu=timestamp,clocks.sm," in asked  # reads and changes nothing
    report = Report(tmp_path / "figures.json", {})
    report.add("peak", result)
    assert json.loads(report.path.read_text())["parts"]["peak"]["clocks"] == [found]


def test_without_nvidia_smi_a_part_runs_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = PartResult()
    with clocks.sampled(tmp_path / "clocks.csv", "peak", result):
        pass
    assert result.skipped == ["clocks: nvidia-smi is not here"]
    assert result.clocks == []


def test_what_can_be_loaded_is_said_and_what_not_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOADED", {"C": ("no-such.so", "libc.so.6"), "NVDEC": ("no-such.so.1",)})
    monkeypatch.setattr(machine, "IMPORTED", {"PyAV": "av", "DALI": "no_such_module"})
    found = machine.environment("cpu")
    assert found["C"] == found["PyAV"] == "can be loaded"
    assert found["NVDEC"].startswith("no: no-such.so.1 cannot be loaded here (no-such.so.1: cannot open")
    assert found["DALI"].startswith("no: no_such_module cannot be imported here (ModuleNotFoundError")


def test_an_error_is_told_with_its_second_line() -> None:
    assert one_line(RuntimeError("backend='inductor' raised:\nno g++")) == (
        "RuntimeError: backend='inductor' raised: no g++"
    )


def test_wrong_use_is_told(capsys) -> None:
    assert main(["--device", "cpu"]) == 2
    assert "use --device cpu --quick" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["--device", "cuda"]) == 2
        assert "sees no NVIDIA GPU here" in capsys.readouterr().err


def test_the_commands_for_a_lent_gpu_leave_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a machine gives eight back, and what is left out is lost."""

    def found(job: part.Job, result: PartResult) -> None:
        assert job.device == "cuda"
        job.notes().tell("row", {"what": job.part})

    @contextmanager
    def sampled(path: Path, part: str, result: PartResult) -> Iterator[None]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(part)
        yield

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(run, "environment", lambda device: {"date": "today"})
    monkeypatch.setattr(run, "measure_apart", found)
    monkeypatch.setattr(run, "sampled", sampled)
    monkeypatch.setattr(run, "plot", lambda figures, path: path.touch() or str(path))
    page = (Path(__file__).parents[3] / "docs/gpu.md").read_text()
    commands = [line for line in page.splitlines() if "gpu_bench --total-seconds" in line]
    assert len(commands) == 3
    for number, command in enumerate(commands):
        out = tmp_path / str(number)
        arguments = shlex.split(command.split("gpu_bench ", 1)[1].replace("$OUT", str(out)))
        assert main(arguments) == 0
        files = [p for p in out.rglob("*") if p.is_file()]
        assert 4 <= len(files) <= 8, files
