"""What a job costs on the side of the client: memory as the catalogue grows, CPU as media grow."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil

from resonance.loadtest.ingest.kills import RESONANCE, ingest_command

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Look:
    """A job at one moment. `titles` done so far; `rss_mib` of its process, `cpu_s` so far."""

    at_s: float
    titles: int
    rss_mib: float
    cpu_s: float


def watched_job(sources: list[str], sink: str, address: str, journal: Path, *more: str) -> list[Look]:
    """Run a job to its end and look at it five times a second.

    Raises:
        RuntimeError: it ended with anything but 0 or 1.
    """
    command = ingest_command(sources, sink, address, journal, "--metrics-port", "0", *more)
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert job.stderr is not None
    url = job.stderr.readline().split()[-1]
    process = psutil.Process(job.pid)
    started_s = time.monotonic()
    looks: list[Look] = []
    while job.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
            spent = process.cpu_times()
            rss_mib = process.memory_info().rss / 2**20
        except (OSError, psutil.Error):
            break  # it has just ended
        titles = sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("resonance_ingest_titles_total")
        )
        looks.append(Look(time.monotonic() - started_s, int(titles), rss_mib, spent.user + spent.system))
        time.sleep(_LOOK_EVERY_S)
    said = job.stderr.read()
    if job.wait() not in (0, 1):
        raise RuntimeError(f"the job ended with {job.returncode}: {said[-2000:]}")
    return looks


def job_cpu_s(sources: list[str], sink: str, address: str, journal: Path, *more: str) -> float:
    """CPU seconds of a whole job, its start and its children included.

    Raises:
        RuntimeError: it ended with anything but 0.
    """
    before = _children_cpu_s()
    done = subprocess.run(
        ingest_command(sources, sink, address, journal, *more), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the job ended with {done.returncode}: {done.stderr[-2000:]}")
    return _children_cpu_s() - before


def start_cpu_s() -> float:
    """CPU seconds of a command that starts and does nothing, for what a job costs beyond its start."""
    before = _children_cpu_s()
    subprocess.run([*RESONANCE, "ingest", "--help"], capture_output=True, check=True)
    return _children_cpu_s() - before


def _children_cpu_s() -> float:
    """Of children that were waited for."""
    spent = psutil.Process().cpu_times()
    return float(spent.children_user + spent.children_system)
