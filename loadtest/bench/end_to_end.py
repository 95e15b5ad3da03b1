"""Whole films through the command line and a real Triton: times real time, CPU and memory."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from resonance.loadtest.films import Film, film
from resonance.serving.process import cpu_seconds
from resonance.serving.server import TritonServer

COMMAND = str(Path(sys.executable).with_name("resonance"))
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class FilmResult:
    """Medians over the runs of one film.

    `times_real_time` counts from the first byte read to the title; `with_start_up` also counts starting
    the command. Memory is the client's peak resident set, looked at every 10 ms.
    """

    film: str
    sampling: str
    runs: int
    times_real_time: float
    with_start_up: float
    client_cpu_s: float
    server_cpu_s: float
    client_peak_mb: float
    segments: int
    sampled_by: dict[str, int]


def measure_film(spec: Film, server: TritonServer, folder: Path, *, sampling: str, runs: int) -> FilmResult:
    """Embed `spec` `runs` times, one after the other, each in a process of its own."""
    path = film(spec, folder)
    rows = [run_command(path, server, sampling) for _ in range(runs)]
    embedded = rows[0].result
    counts: dict[str, int] = {}
    for segment in embedded["segments"]:
        counts[segment["sampled_by"]] = counts.get(segment["sampled_by"], 0) + 1
    return FilmResult(
        film=spec.name,
        sampling=sampling,
        runs=runs,
        times_real_time=statistics.median(
            spec.duration_s * 1e3 / r.result["timing_ms"]["total"] for r in rows
        ),
        with_start_up=statistics.median(spec.duration_s / r.wall_s for r in rows),
        client_cpu_s=statistics.median(r.client_cpu_s for r in rows),
        server_cpu_s=statistics.median(r.server_cpu_s for r in rows),
        client_peak_mb=max(r.client_peak_mb for r in rows),
        segments=len(embedded["segments"]),
        sampled_by=counts,
    )


@dataclass(frozen=True, slots=True)
class CommandRun:
    """What one run of the command said and used; the server's CPU is what it spent meanwhile."""

    result: dict
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    client_peak_mb: float


def run_command(path: Path, server: TritonServer, sampling: str) -> CommandRun:
    """`resonance embed` of one file.

    Raises:
        RuntimeError: it did not end well.
    """
    before_s, started = cpu_seconds(server.pid), time.monotonic()
    out = path.with_suffix(".result.jsonl")
    child = subprocess.Popen(
        [
            COMMAND,
            "embed",
            str(path),
            "--server",
            server.grpc_address,
            "--sampling",
            sampling,
            "--output",
            str(out),
        ],
        stdout=subprocess.DEVNULL,
    )
    peak_mb, usage = _wait(child)
    if child.returncode != 0:
        raise RuntimeError(f"embedding {path} ended with {child.returncode}")
    wall_s = time.monotonic() - started
    with out.open(encoding="utf-8") as lines:
        result = json.loads(next(lines))
    out.unlink()
    return CommandRun(
        result=result,
        wall_s=wall_s,
        client_cpu_s=usage.ru_utime + usage.ru_stime,
        server_cpu_s=cpu_seconds(server.pid) - before_s,
        client_peak_mb=peak_mb,
    )


def _wait(child: subprocess.Popen[bytes]) -> tuple[float, resource.struct_rusage]:
    """Wait for the end of `child`: its peak resident set in MB, and what it used.

    The kernel's own figure of an ended process, ru_maxrss, starts from the size of whoever started it.
    """
    peak_mb = 0.0
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return peak_mb, usage
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
        )
        if "VmHWM" in fields:  # not while it ends
            peak_mb = float(fields["VmHWM"].split()[0]) / 1024
        time.sleep(POLL_S)
